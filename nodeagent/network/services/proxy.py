"""Keeps the node's Services programmed: changes are collected while the kernel is busy, and applied in one transaction.

All state is that of the thread which owns netlink; only what has changed is handed to it. After a failure the table is
compared with the kernel, with a back-off. Connections that are to end are listed in another thread, as a node may track so many
that pods which are attached would wait for it; the next change follows when they have ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from nodeagent.network import handover
from nodeagent.network.elements import Key
from nodeagent.network.interface import NetworkError
from nodeagent.network.ruleset import Ruleset
from nodeagent.network.services import flows, recovery
from nodeagent.network.services.model import Facts, Target
from nodeagent.network.services.names import CONCERN
from nodeagent.network.services.table import Changes, Health, ServiceTable
from nodeagent.network.services.wanted import Frontend
from nodeagent.node import threads
from pinnace import kinds
from pinnace.clock import Clock
from pinnace.core.v1.service_pb2 import Service
from pinnace.discovery.v1.endpointslice_pb2 import EndpointSlice

log = logging.getLogger("pinnace.services")
T = TypeVar("T")
# Services of one visit to the kernel: pods that are attached meanwhile wait for it.
BATCH = 250
# Problems of a Service that are logged.
SHOWN = 5
# Seconds before another try after a failure, doubling.
FIRST_RETRY, MAX_RETRY = 0.5, 30.0


KINDS = (kinds.SERVICE.kind, kinds.ENDPOINT_SLICE.kind)


class Change(Protocol):
    """Of the agent's assignment: an object by KIND/NAMESPACE/NAME; `new` is None when it has gone."""

    @property
    def key(self) -> str: ...
    @property
    def new(self) -> Any | None: ...


class Kernel(Protocol):
    """The thread that owns netlink, and the table."""

    ruleset: Ruleset

    async def visit(self, work: Callable[[], T]) -> T:
        """Run `work` there. Raises NetworkError."""


@dataclass(slots=True)
class Counters:
    """Since the agent started."""

    transactions: int = 0
    elements: int = 0
    flows: int = 0
    failures: int = 0
    # Of the last change, from objects to the end of its transaction.
    seconds: float = 0.0


@dataclass(slots=True)
class _Work:
    """Of the thread."""

    table: ServiceTable
    declared: bool = False
    flows: dict[Frontend, frozenset[Target]] = field(default_factory=dict)
    clients: set[tuple[str, Key]] = field(default_factory=set)
    problems: dict[str, list[str]] = field(default_factory=dict)


class ServiceProxy:
    """`health` is called with all health checks that the node should answer, whenever Services have changed."""

    def __init__(self, kernel: Kernel, clock: Clock, health: Callable[[list[Health]], Awaitable[None]]) -> None:
        self._kernel, self._clock, self._health = kernel, clock, health
        self._changed = asyncio.Event()
        self._facts: Facts | None = None
        self._services: dict[str, Service | None] = {}
        self._slices: dict[str, EndpointSlice | None] = {}
        self._work: _Work | None = None
        self._complete = False
        # Set once all Services that the node had at first are programmed.
        self.serving = asyncio.Event()
        self.counters = Counters()

    def configure(self, facts: Facts) -> None:
        """The node's table is there, for these facts."""
        self._facts = facts
        self._changed.set()

    def restore(self, items: Callable[[str], Iterable[Any]]) -> None:
        """What an earlier agent had; `items` returns the objects of a kind."""
        for kind in KINDS:
            for item in items(kind):
                self._set(kind, f"{item.metadata.namespace}/{item.metadata.name}", item)

    def changed(self, changes: Iterable[Change]) -> None:
        """Services and EndpointSlices that were added, changed or removed."""
        for change in changes:
            kind, _, key = change.key.partition("/")
            self._set(kind, key, change.new)

    def all_known(self) -> None:
        """All Services have come: until then those of an earlier agent stay as they are."""
        if not self._complete:
            self._complete = True
            self._changed.set()

    def _set(self, kind: str, key: str, item: Any | None) -> None:
        if kind == kinds.SERVICE.kind:
            self._services[key] = item
        else:
            self._slices[key] = item
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        delay = FIRST_RETRY
        while True:
            self._changed.clear()
            try:
                more = self._facts is not None and await self._sync()
                delay, wait = FIRST_RETRY, 0.0 if more else None
            except (NetworkError, OSError) as error:
                self.counters.failures += 1
                log.error("services_failed retry=%.1f error=%s", delay, error)
                wait, delay = delay, min(delay * 2, MAX_RETRY)
            if wait != 0.0:
                await self._clock.wait(self._changed, wait)

    async def _sync(self) -> bool:
        """Program what has changed; returns whether there is more."""
        more = await self._kernel.visit(self._visit)
        work = self._work
        if work is None:
            return more
        for key, problems in work.problems.items():
            shown = [*problems[:SHOWN], *([f"{len(problems) - SHOWN} more"] if len(problems) > SHOWN else [])]
            log.warning("service_problems service=%s problems=%s", key, "; ".join(shown))
        work.problems.clear()
        if work.declared:
            self.serving.set()
        if not more:
            await self._health(work.table.health())
            await self._clean(work)
        return more

    async def _clean(self, work: _Work) -> None:
        """End connections, last: one that is tracked anew is led by the new table. After a failure the next try is that of all
        Services, with its back-off: after up to MAX_RETRY seconds."""
        live, work.flows = work.flows, {}
        if not live:
            return
        began = time.perf_counter()
        try:
            deleted = await handover.run(self._kernel.visit, threads.connections, partial(flows.cleaning, live))
        except (NetworkError, OSError):
            work.flows = live
            raise
        if deleted:
            self.counters.flows += deleted
            log.info("service_flows_ended flows=%d ms=%.1f", deleted, (time.perf_counter() - began) * 1000)

    def _visit(self) -> bool:
        """On the thread."""
        began = time.perf_counter()
        work = self._work = self._work or _Work(ServiceTable(self._facts_now(), recovery.read(self._read())))
        # Before what has come is taken: the last of it may come now.
        complete = self._complete
        self._take(work.table)
        changes = work.table.compute(BATCH)
        work.problems |= changes.problems
        work.flows |= changes.flows
        work.clients |= changes.clients
        if work.declared:
            self._program(work, changes, began)
        elif complete and not work.table.pending:
            self._declare(work, began)
        return work.table.pending > 0

    def _facts_now(self) -> Facts:
        if self._facts is None:
            raise NetworkError("the node's network is not set up")
        return self._facts

    def _read(self) -> dict[str, Any]:
        return dict(self._kernel.ruleset.listing([CONCERN]).elements)

    def _take(self, table: ServiceTable) -> None:
        """What has come since the last visit. Swapped first: the loop may add more meanwhile."""
        services, self._services = self._services, {}
        slices, self._slices = self._slices, {}
        table.set_facts(self._facts_now())
        for key, item in services.items():
            table.set_service(key, item)
        for key, one in slices.items():
            table.set_slice(key, one)

    def _declare(self, work: _Work, began: float) -> None:
        """The first time: what an earlier agent has left is compared. Connections of before are compared too."""
        change = self._kernel.ruleset.declare(CONCERN, work.table.elements())
        work.flows |= work.table.live()
        work.declared = True
        self._finish(change.size, began)

    def _program(self, work: _Work, changes: Changes, began: float) -> None:
        ruleset = self._kernel.ruleset
        self._delete_clients(work)
        if changes.add or changes.remove:
            ruleset.change(CONCERN, sorted(changes.add), sorted(changes.remove))
        elif ruleset.stale:
            ruleset.repair()
        self._finish(len(changes.add) + len(changes.remove), began)

    def _delete_clients(self, work: _Work) -> None:
        """A failure leaves clients with another endpoint than chance would give them, no more."""
        keys = dict[str, set[Key]]()
        for container, key in work.clients:
            keys.setdefault(container, set()).add(key)
        try:
            self._kernel.ruleset.delete_clients(keys)
        except NetworkError as error:
            log.warning("clients_not_deleted sets=%s error=%s", ",".join(sorted(keys)[:SHOWN]), error)
        work.clients.clear()

    def _finish(self, size: int, began: float) -> None:
        if size:
            self.counters.transactions += 1
            self.counters.elements += size
            self.counters.seconds = time.perf_counter() - began
            log.info("services_programmed elements=%d ms=%.1f", size, self.counters.seconds * 1000)
