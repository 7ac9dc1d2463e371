"""One kctl at a time: locks that end with the process that holds them (flock(2))."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from pinnace.errors import Timeout

POLL = 0.02


@contextlib.contextmanager
def held(path: Path, *, within: float) -> Iterator[None]:
    """Hold the lock at `path`, waiting up to `within` seconds for it. Raises Timeout.

    The holder may remove the file: a process that then gets the lock of the removed file tries again.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline = time.monotonic() + within
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if _locked(descriptor) and _is(descriptor, path):
                yield
                return
        finally:
            os.close(descriptor)
        if time.monotonic() > deadline:
            raise Timeout(f"{path} is held by another kctl for {within:.0f} s")
        time.sleep(POLL)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
