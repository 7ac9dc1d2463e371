"""Threads for blocking work, a bounded number for each kind: what hangs in one kind delays no other.

A call to the kernel can hang for good (a hostPath on a dead NFS server). Its thread is then lost until the kernel answers, so
each kind of work has threads of its own, a deadline for who waits, and a bound on who may wait. Within a kind, owners (a pod, a
file system) share the threads: each has its bound, and those that wait take turns. Threads are daemons: one that hangs does not
keep the agent from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from nodeagent.node.fairslots import FairSlots

P = ParamSpec("P")
T = TypeVar("T")
# Callers of one owner that may wait for a thread of one kind.
MAX_WAITING = 1000


class PoolBusy(OSError):
    """Too many callers wait already."""


class Pool:
    """At most `threads` calls at a time, and `each` of one owner (default: all); `name` is what errors and threads are called
    by. A pool and its shares (`of`) have the same threads."""

    def __init__(self, name: str, threads: int, each: int = 0) -> None:
        self._name = name
        self._slots = FairSlots(threads, each or threads)
        self._owner: Hashable = None

    def of(self, owner: Hashable) -> Pool:
        """The share of an owner."""
        found = copy.copy(self)
        found._owner = owner
        return found

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work` in a thread. Raises what it raises, and PoolBusy. Cancelling does not end the work."""
        if self._slots.waiting(self._owner) >= MAX_WAITING:
            raise PoolBusy(f"{self._name}: {MAX_WAITING} callers are waiting")
        await self._slots.acquire(self._owner)
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()

        def call() -> None:
            try:
                outcome: Callable[[], None] = _setter(result, work(*args, **kwargs))
            except StopIteration as error:
                # No future can carry it (PEP 479).
                outcome = _raiser(result, RuntimeError(f"{self._name}: {error!r}"))
            except BaseException as error:
                outcome = _raiser(result, error)
            with contextlib.suppress(RuntimeError):
                # RuntimeError: the loop has ended.
                loop.call_soon_threadsafe(self._done, outcome)

        threading.Thread(target=call, name=self._name, daemon=True).start()
        return await result

    async def run_within(self, seconds: float, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`run`, waiting for a thread and the result no longer than that. Raises TimeoutError too, naming the kind."""
        try:
            async with asyncio.timeout(seconds):
                return await self.run(work, *args, **kwargs)
        except TimeoutError:
            raise TimeoutError(f"{self._name}: not done within {seconds:g} s") from None

    def _done(self, outcome: Callable[[], None]) -> None:
        self._slots.release(self._owner)
        outcome()


class InlinePool(Pool):
    """A pool without threads, for tests on virtual time: the work is done before `run` returns."""

    def __init__(self) -> None:
        super().__init__("inline", 1)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return work(*args, **kwargs)


def _setter(result: asyncio.Future[T], value: T) -> Callable[[], None]:
    return lambda: None if result.done() else result.set_result(value)


def _raiser(result: asyncio.Future[T], error: BaseException) -> Callable[[], None]:
    return lambda: None if result.done() else result.set_exception(error)


@dataclass(frozen=True, slots=True)
class Pools:
    """The kinds of blocking work that pods cause."""

    # Volumes, which are on the node's own file systems.
    volumes: Pool = field(default_factory=lambda: Pool("volumes", 8))
    # What hostPath volumes lead to, which may be anywhere: by what must answer for them. So many file systems may hang.
    host_paths: Pool = field(default_factory=lambda: Pool("hostPath volumes", 64, each=1))
    # A bundle's files, and what became of one.
    bundles: Pool = field(default_factory=lambda: Pool("bundles", 8))
    # In turns (`deletion`), a pod's one after the other.
    deletions: Pool = field(default_factory=lambda: Pool("deletions", 4, each=1))
    # Sizes of trees, and what cgroups use.
    walks: Pool = field(default_factory=lambda: Pool("disk and cgroup usage", 4, each=2))
