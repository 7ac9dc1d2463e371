"""Blobs on their way from a registry: each downloaded once however many want it, resumed, tried again, given up.

A part is kept in `partial/` under the blob's digest, over failures and restarts, until it is whole and unpacked, or old.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeVar

from nodeagent.images.keymutex import KeyMutex
from nodeagent.images.registry.client import Repository
from nodeagent.images.registry.errors import RegistryError, Transient
from nodeagent.images.registry.http import Abort
from pinnace import labclock
from pinnace.clock import Clock, jitter
from pinnace.oci.manifest import Descriptor

# Requests to registries at once, of all pulls of the node.
THREADS = 6
# Tries without a byte of progress, and in all.
MAX_FUTILE, MAX_TRIES = 5, 50
RETRY, MAX_RETRY = 0.5, 8.0
# Seconds that a part is kept without growing.
KEEP_PARTIAL = 86_400.0
_T = TypeVar("_T")


class Blobs:
    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._turns = KeyMutex()
        self._running: dict[str, asyncio.Future[None]] = {}
        self._aborts: set[Abort] = set()
        self._threads: ThreadPoolExecutor | None = None

    def path(self, digest: str) -> Path:
        return self._folder / digest.removeprefix("sha256:")

    def received(self, item: Descriptor) -> int:
        """Bytes of a blob that are here."""
        try:
            return min(self.path(item.digest).stat().st_size, item.size)
        except FileNotFoundError:
            return 0

    async def ask(self, call: Callable[[], _T]) -> _T:
        """A short blocking request in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._executor(), call)

    def _executor(self) -> ThreadPoolExecutor:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "pull")
        return self._threads

    def turn(self, digest: str) -> AbstractAsyncContextManager[None]:
        """One at a time for each blob: who comes second finds what the first has brought."""
        return self._turns.of(digest)

    async def fetch(self, sources: Sequence[Repository], item: Descriptor) -> Path:
        """The whole blob, from the first source that has it right. Within its `turn`. Raises RegistryError."""
        try:
            return await self._persist(sources, item)
        finally:
            if not self.received(item):
                self.forget(item.digest)

    async def _persist(self, sources: Sequence[Repository], item: Descriptor) -> Path:
        """Again and again while there is hope."""
        futile, failure = 0, RegistryError("no registry to ask")
        for _ in range(MAX_TRIES):
            before = self.received(item)
            try:
                return await self._from_any(sources, item)
            except Transient as error:
                failure = error
            futile = 0 if self.received(item) > before else futile + 1
            if futile >= MAX_FUTILE:
                break
            await self._clock.sleep(jitter(min(RETRY * 2.0 ** max(futile - 1, 0), MAX_RETRY)))
        raise failure

    async def _from_any(self, sources: Sequence[Repository], item: Descriptor) -> Path:
        failure: RegistryError = RegistryError("no registry to ask")
        for source in sources:
            try:
                await self._transfer(source, item)
                return self.path(item.digest)
            except RegistryError as error:
                # One that may go well later is worth more than a last word.
                failure = error if not isinstance(failure, Transient) else failure
        raise failure

    async def _transfer(self, source: Repository, item: Descriptor) -> None:
        # The thread of one who has gone may still be about to notice.
        if (previous := self._running.get(item.digest)) is not None:
            await asyncio.wait([previous])
        abort = Abort()
        work = functools.partial(source.blob, item, self.path(item.digest), abort)
        future = asyncio.get_running_loop().run_in_executor(self._executor(), work)
        self._running[item.digest] = future
        self._aborts.add(abort)
        future.add_done_callback(functools.partial(self._ended, item.digest, abort))
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            abort.set()
            raise
        except OSError as error:
            raise RegistryError(f"blob {item.digest[:19]}: {error}") from None

    def _ended(self, digest: str, abort: Abort, future: asyncio.Future[None]) -> None:
        self._running.pop(digest, None)
        self._aborts.discard(abort)
        if not future.cancelled():
            # Looked at, so that nobody is told of a failure which nobody waits for.
            future.exception()

    def forget(self, digest: str) -> None:
        self.path(digest).unlink(missing_ok=True)

    def expire(self, age: float = KEEP_PARTIAL) -> int:
        """Remove parts that have not grown for `age` seconds and that are not in use; returns the bytes freed."""
        freed = 0
        for entry in os.scandir(self._folder):
            digest, status = f"sha256:{entry.name}", entry.stat(follow_symlinks=False)
            if self._turns.busy(digest) or digest in self._running:
                continue
            if status.st_mtime <= labclock.machine(self._clock).now() - age:
                freed += status.st_size
                os.unlink(entry.path)
        return freed

    def close(self) -> None:
        """End every transfer; what came stays."""
        for abort in list(self._aborts):
            abort.set()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
