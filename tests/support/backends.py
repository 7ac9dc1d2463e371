"""Backends for tests: with limits, with outages, and that survive the control plane over them."""

from __future__ import annotations

from typing import Any

from controlplane.store.backend import Limits
from controlplane.store.memory import MemoryBackend
from pinnace.errors import Unavailable


class Lasting(MemoryBackend):
    """Another control plane can open it after the first one has closed it."""

    async def close(self) -> None:
        pass


class Small(Lasting):
    """Its transactions are as small as etcd's."""

    limits = Limits(operations=100, size=1400 << 10, group=1, commits=1)

    async def commit(self, txns: Any) -> Any:
        for txn in txns:
            refusal = self.limits.refusal(txn)
            assert refusal is None, refusal
        return await super().commit(txns)


class Outage(MemoryBackend):
    """Its commits fail while `down`."""

    down = False

    async def commit(self, txns: Any) -> Any:
        if self.down:
            raise Unavailable("no quorum")
        return await super().commit(txns)
