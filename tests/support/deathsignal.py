"""Processes of tests that end with what started them, also when that is killed."""

from __future__ import annotations

import signal
from pathlib import Path

from nodeagent.linux import syscalls


def end_with_parent() -> None:
    """The calling process is killed when the thread that has forked it ends; for `preexec_fn`. An exec keeps that."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)


def has_ended(pid: int) -> bool:
    """Also before anything has waited for it."""
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True
