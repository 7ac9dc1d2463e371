"""`kctl exec`: a command in a container, with a terminal when asked, and its exit code."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from cli import flags
from cli.commands.logs import pod_name, raise_exit
from pinnace.errors import BadRequest

CHUNK = 32 << 10
MAX_QUEUED = 64


def run(arguments: list[str]) -> int:
    parser = flags.Parser("exec", "Run a command in a container: kctl exec -it web -- sh")
    parser.add_argument("pod", help="name, or pod/name")
    parser.add_argument("-c", "--container", default="")
    parser.add_argument("-i", "--stdin", action="store_true", help="pass standard input")
    parser.add_argument("-t", "--tty", action="store_true", help="with a terminal")
    own, command = _split(arguments)
    combined = {"-it": ["-i", "-t"], "-ti": ["-i", "-t"]}
    args, more = parser.parse_known_args([flag for word in own for flag in combined.get(word, [word])])
    command = [*more, *command]
    if not command:
        raise BadRequest("you must specify at least one command for the container: kctl exec POD -- COMMAND")
    tty = args.tty and sys.stdin.isatty()
    if args.tty and not tty:
        print("Unable to use a TTY - input is not a terminal or the right kind of file", file=sys.stderr)
    client = flags.client(args)
    from pinnace.api.v1 import streams_pb2

    opening = streams_pb2.OpenStream(namespace=client.context.namespace, pod=pod_name(args.pod), container=args.container)
    opening.exec.command.extend(command)
    opening.exec.stdin, opening.exec.tty = args.stdin, tty
    with _raw_terminal() if tty else contextlib.nullcontext():
        return _carry(client, opening)


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    if "--" in arguments:
        at = arguments.index("--")
        return arguments[:at], arguments[at + 1 :]
    return arguments, []


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    import termios
    import tty

    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _carry(client: Any, opening: Any) -> int:
    from pinnace.api.v1 import streams_pb2, streams_pb2_grpc

    outgoing: queue.Queue[Any] = queue.Queue(MAX_QUEUED)
    outgoing.put(streams_pb2.Frame(open=opening))
    if opening.exec.tty:
        _watch_size(outgoing, streams_pb2)
    if opening.exec.stdin:
        threading.Thread(target=_read_stdin, args=(outgoing, streams_pb2), daemon=True).start()
    stub = streams_pb2_grpc.StreamsStub(client.channel)
    try:
        for frame in client.stream(stub.Exec, iter(outgoing.get, None)):
            match frame.WhichOneof("frame"):
                case "stdout":
                    _write(1, frame.stdout)
                case "stderr":
                    _write(2, frame.stderr)
                case "exit":
                    raise_exit(frame.exit)
                    return int(frame.exit.code)
    finally:
        with contextlib.suppress(queue.Full):
            outgoing.put_nowait(None)
    print("error: the stream ended without an exit code", file=sys.stderr)
    return 1


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _read_stdin(outgoing: queue.Queue[Any], streams_pb2: Any) -> None:
    while data := os.read(0, CHUNK):
        outgoing.put(streams_pb2.Frame(stdin=data))
    outgoing.put(streams_pb2.Frame(stdinClosed=True))


def _watch_size(outgoing: queue.Queue[Any], streams_pb2: Any) -> None:
    def tell(*_: Any) -> None:
        size = os.get_terminal_size(0)
        with contextlib.suppress(queue.Full):
            outgoing.put_nowait(streams_pb2.Frame(resize=streams_pb2.TerminalSize(columns=size.columns, rows=size.lines)))

    tell()
    signal.signal(signal.SIGWINCH, tell)
