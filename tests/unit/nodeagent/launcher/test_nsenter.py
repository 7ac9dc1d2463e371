"""Waiting for a program that others hold up, and what is left open for it."""

from __future__ import annotations

import os
import signal
import time

from nodeagent.launcher import confinement, nsenter


def child(then: str) -> tuple[int, int]:
    """A process that holds the pipe of its failures: its pid, and the pipe's other end."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        if then == "stops":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif then == "fails":
            os.write(write, b"no such program")
        os._exit(0)
    os.close(write)
    return pid, read


def test_what_is_stopped_before_it_is_its_program_is_killed() -> None:
    """Nothing waits for it longer than it may take."""
    pid, pipe = child("stops")
    begun = time.monotonic()
    assert nsenter.failure(pipe, [pid], 0.2) == "the program has not started within 0 s"
    assert time.monotonic() - begun < 5
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def test_a_failure_is_what_was_said_and_a_start_is_silence() -> None:
    """Nobody is killed then."""
    for then, said in (("fails", "no such program"), ("runs", "")):
        pid, pipe = child(then)
        assert nsenter.failure(pipe, [pid], 10) == said
        assert os.waitpid(pid, 0)[1] == 0


def test_only_what_is_named_stays_open() -> None:
    """Also the first, the last and neighbours."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 5)
            confinement.close_but({0, 1, 5})
            # One more is that of the listing itself.
            code = sorted(map(int, os.listdir("/proc/self/fd")))[:4] != [0, 1, 2, 5]
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
