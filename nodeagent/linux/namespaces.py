"""Visiting a network namespace: the one function that moves a thread into another and back."""

from __future__ import annotations

import contextlib
import os

from nodeagent.linux import syscalls

# Not typing.TYPE_CHECKING: importing typing costs memory in every monitor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def current() -> int:
    """A descriptor of this thread's network namespace, which is the caller's to close. Raises OSError."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def visiting(path: str | os.PathLike[str]) -> Iterator[None]:
    """Have this thread in the network namespace at `path` for the block. A socket stays in the namespace in which it was
    made, so that is all the time it takes to make one. Raises OSError."""
    home = current()
    try:
        target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns(target, syscalls.CLONE_NEWNET)
        finally:
            os.close(target)
        try:
            yield
        finally:
            syscalls.setns(home, syscalls.CLONE_NEWNET)
    finally:
        os.close(home)
