"""Runs a verb in the store, and lets requests that would only conflict with each other wait in line instead.

Optimistic transactions that all write one object, such as a quota, succeed one at a time: of 200, the last would be tried 200
times. Those of one process wait for each other here; those of other control planes still conflict, and are repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from controlplane.resources.registry import Registry
from controlplane.resources.resource import Resource
from controlplane.store import Store, Tx
from pinnace.kinds import Kind

T = TypeVar("T")


class Executor:
    """One for each store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # Lock and number of requests that hold it or wait for it, by what they contend for.
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    async def run(self, fn: Callable[[Tx], T], *, dry_run: bool = False) -> T:
        """Run a verb and commit, unless it is a dry run. Raises what the verb and `Store.update` raise."""
        return self._store.view(fn) if dry_run else await self._store.update(fn)

    async def create(self, kind: Kind, namespace: str, fn: Callable[[Tx], T], *, dry_run: bool = False) -> T:
        """`run` for a verb that may create an object of a kind in a namespace, or need more of a quota there."""
        contended = self._store.view(lambda tx: self._contended(tx, kind, namespace))
        async with self._turn(contended):
            return await self.run(fn, dry_run=dry_run)

    async def update(
        self, resource: Resource, part: str, namespace: str, fn: Callable[[Tx], T], *, dry_run: bool = False
    ) -> T:  # fmt: skip
        """`run` for an update of an object in a namespace, through a subresource or not (empty)."""
        found = resource.subresource(part) if part else None
        if found is not None and found.uses_quota:
            return await self.create(resource.kind, namespace, fn, dry_run=dry_run)
        return await self.run(fn, dry_run=dry_run)

    def _contended(self, tx: Tx, kind: Kind, namespace: str) -> str:
        registry = Registry.of(tx)
        found = (plugin.contended(tx, registry.resource(kind), namespace) for plugin in registry.plugins)
        return next((key for key in found if key), "")

    @asynccontextmanager
    async def _turn(self, key: str) -> AsyncIterator[None]:
        if not key:
            yield
            return
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            users = self._locks[key][1] - 1
            if users:
                self._locks[key] = lock, users
            else:
                del self._locks[key]
