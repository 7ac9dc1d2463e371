"""kctl, or another program, on a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from collections.abc import Iterator

from tests.support.labs import LabUnderTest

WITHIN = 30.0
KCTL = (sys.executable, "-P", "-m", "cli.main")


class Screen:
    """What is said on a terminal, and what is typed."""

    def __init__(self, pid: int, master: int) -> None:
        self.pid = pid
        self.master = master
        self.said = b""

    def until(self, text: bytes) -> bytes:
        """All that was said up to and with `text`, which is then forgotten."""
        deadline = time.monotonic() + WITHIN
        while text not in self.said:
            assert select.select([self.master], [], [], max(0, deadline - time.monotonic()))[0], self.said
            try:
                self.said += os.read(self.master, 4096)
            except OSError:
                raise AssertionError(f"it ended after {self.said!r}") from None
        found, _, self.said = self.said.partition(text)
        return found + text

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def code(self) -> int:
        """The exit code, once it has ended."""
        with contextlib.suppress(OSError):
            while os.read(self.master, 4096):
                pass
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)


@contextlib.contextmanager
def on_terminal(lab: LabUnderTest, *arguments: str, program: tuple[str, ...] = KCTL) -> Iterator[Screen]:
    """`program` are the first words of the command line."""
    pid, master = pty.fork()
    if pid == 0:
        os.execve(program[0], [*program, *arguments], lab.environment)
    screen = Screen(pid, master)
    try:
        yield screen
    finally:
        if screen.pid:
            os.kill(screen.pid, 9)
            os.waitpid(screen.pid, 0)
        os.close(master)
