"""The three standard streams, made safe before anything is printed, and given up without noise at the end.

A caller may have closed one (`kctl get pods >&-`). Python then has None in its place, which print() takes for "standard
output", and the kernel gives the number to the next file that is opened: a socket would get what was meant for the
terminal. So a closed stream becomes /dev/null, as kubectl's output into nothing is no error either.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import IO


def prepare() -> None:
    """Open what is closed, and print UTF-8 whatever the locale, bytes that are none included."""
    for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, which is this one: those below are open by now.
            os.open(os.devnull, mode)
    sys.stdin = _usable(sys.stdin, 0, "r")
    sys.stdout = _usable(sys.stdout, 1, "w")
    sys.stderr = _usable(sys.stderr, 2, "w")


def _usable(stream: IO[str] | None, number: int, mode: str) -> IO[str]:
    errors = "backslashreplace" if number == 2 else "surrogateescape"
    if stream is None:
        return open(number, mode, encoding="utf-8", errors=errors, closefd=False)
    if mode == "w" and hasattr(stream, "reconfigure"):
        stream.reconfigure(encoding="utf-8", errors=errors)
    return stream


def flush() -> None:
    """Raises OSError when the output cannot be written, BrokenPipeError when its reader has gone."""
    sys.stdout.flush()
    sys.stderr.flush()


def discard() -> None:
    """Send what is still buffered to /dev/null, so that the interpreter's own flush at the end does not fail."""
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except (OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, number)
            os.close(null)


def end_by_signal(number: signal.Signals) -> None:
    """End as a program does that leaves the signal to the kernel: a shell sees it and says nothing."""
    discard()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
