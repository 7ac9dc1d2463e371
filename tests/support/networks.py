"""A network namespace of a test's own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from nodeagent.linux import syscalls

T = TypeVar("T")


def alone(work: Callable[[], T]) -> T:
    """What a function returns, or raises, in a thread that has a network namespace of its own. Needs root."""
    results, errors = list[T](), list[BaseException]()

    def run() -> None:
        try:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "the test's thread does not end"
    if errors:
        raise errors[0]
    return results[0]


@contextlib.contextmanager
def pinned(path: Path) -> Iterator[Path]:
    """A pod's network namespace, at `path` until the end. Needs root."""
    path.touch()
    alone(lambda: syscalls.mount("/proc/thread-self/ns/net", str(path), "", syscalls.MS_BIND))
    try:
        yield path
    finally:
        syscalls.umount(str(path), syscalls.MNT_DETACH)
