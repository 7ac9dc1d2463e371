"""A stream of frames between a terminal or pipes of ours and a container: what exec, attach and debug share."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from pinnace import errors

CHUNK = 32 << 10
MAX_QUEUED = 64


def carry(client: Any, method: Callable[..., Any], opening: Any, *, stdin: bool, tty: bool) -> int:
    """Both ways until the end; returns the exit code. With `tty` ours is in raw mode meanwhile. Raises ApiError."""
    from pinnace.api.v1 import streams_pb2

    outgoing: queue.Queue[Any] = queue.Queue(MAX_QUEUED)
    outgoing.put(streams_pb2.Frame(open=opening))
    with raw_terminal() if tty else contextlib.nullcontext():
        if tty:
            _watch_size(outgoing, streams_pb2)
        if stdin:
            threading.Thread(target=_read_stdin, args=(outgoing, streams_pb2), daemon=True).start()
        try:
            for frame in client.stream(method, iter(outgoing.get, None)):
                match frame.WhichOneof("frame"):
                    case "stdout":
                        write(1, frame.stdout)
                    case "stderr":
                        write(2, frame.stderr)
                    case "exit":
                        raise_exit(frame.exit)
                        return int(frame.exit.code)
        finally:
            with contextlib.suppress(queue.Full):
                outgoing.put_nowait(None)
    # A remote terminal's last line may not have ended.
    start = "\n" if tty else ""
    print(f"{start}error: lost connection to the node's agent or the control plane", file=sys.stderr)
    return 1


def usable_tty(*, asked: bool) -> bool:
    """Whether a terminal that was asked for can be had, saying so if not."""
    if asked and not sys.stdin.isatty():
        print("Unable to use a TTY - input is not a terminal or the right kind of file", file=sys.stderr)
        return False
    return asked


def split_command(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Our own words and those after `--`; `-it` and `-ti` taken apart."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    combined = {"-it": ["-i", "-t"], "-ti": ["-i", "-t"]}
    return [flag for word in arguments[:at] for flag in combined.get(word, [word])], arguments[at + 1 :]


def raise_exit(exit_: Any) -> None:
    """Raise what a stream's last frame says went wrong."""
    if exit_.message:
        raise errors.BY_REASON.get(exit_.reason, errors.Internal)(exit_.message)


@contextlib.contextmanager
def raw_terminal() -> Iterator[None]:
    import termios
    import tty

    try:
        before = termios.tcgetattr(0)
    except termios.error as error:
        raise errors.BadRequest(f"standard input is not a usable terminal: {error.args[-1]}") from None
    # The terminal is restored after a signal, too.
    handled = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    # TCSANOW keeps what was typed ahead.
    tty.setraw(0, termios.TCSANOW)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        for number, handler in handled.items():
            signal.signal(number, handler)


def _end(number: int, _: Any) -> None:
    raise SystemExit(128 + number)


def write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _read_stdin(outgoing: queue.Queue[Any], streams_pb2: Any) -> None:
    # A terminal that has gone is the end of its input.
    with contextlib.suppress(OSError):
        while data := os.read(0, CHUNK):
            outgoing.put(streams_pb2.Frame(stdin=data))
    outgoing.put(streams_pb2.Frame(stdinClosed=True))


def _watch_size(outgoing: queue.Queue[Any], streams_pb2: Any) -> None:
    def tell(*_: Any) -> None:
        with contextlib.suppress(queue.Full, OSError):
            size = os.get_terminal_size(0)
            outgoing.put_nowait(streams_pb2.Frame(resize=streams_pb2.TerminalSize(columns=size.columns, rows=size.lines)))

    tell()
    signal.signal(signal.SIGWINCH, tell)
