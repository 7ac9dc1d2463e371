"""Leader election: two control planes over one store that hangs, answers late and loses answers never work at once."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.election import ATTEMPT, DEADLINE, DURATION, PERIOD, STOP, Attempt, Elector, NotLeading
from controlplane.store import Batch, Snapshot, Store, Tx, Txn
from controlplane.store.memory import MemoryBackend
from pinnace import kinds
from pinnace.clock import VirtualClock, settle
from pinnace.errors import Unavailable
from pinnace.wellknown import LEADER_LEASE, SYSTEM_NAMESPACE
from tests.support.objects import config_map

# Seconds until another leads after a leader has vanished, with an attempt that just failed.
TAKEOVER = DURATION + 2 * PERIOD


class Shared(MemoryBackend):
    """One state that several processes may write."""

    exclusive = False


class Faulty:
    """One process's connection to it. `faults`: what may become of a commit."""

    exclusive = False
    # Several commits at once, as on etcd, so that they may overtake each other.
    limits = dataclasses.replace(MemoryBackend.limits, commits=4)

    def __init__(self, shared: MemoryBackend, clock: VirtualClock, seed: int) -> None:
        self._shared = shared
        self._clock = clock
        self._random = random.Random(seed)
        self.healthy = False

    async def load(self, prefix: str) -> Snapshot:
        return await self._shared.load(prefix)

    async def commit(self, txns: Sequence[Txn]) -> list[Any]:
        fault = "none" if self.healthy else self._random.choices(FAULTS, WEIGHTS)[0]
        if fault == "refused":
            raise Unavailable("refused")
        if fault in ("late", "hanging"):
            await self._clock.sleep(self._random.uniform(0, 6 if fault == "late" else 40))
        results = await self._shared.commit(txns)
        if fault == "lost":
            raise Unavailable("the answer is lost")
        if fault == "late answer":
            await self._clock.sleep(self._random.uniform(0, 12))
        return results

    async def current(self) -> int:
        return await self._shared.current()

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        return self._shared.watch(prefix, after=after)

    async def compact(self, before: int) -> None:
        pass

    async def close(self) -> None:
        pass


FAULTS = ("none", "refused", "lost", "late", "late answer", "hanging")
WEIGHTS = (6, 2, 2, 2, 2, 3)


class Plane:
    """A control plane whose work is to be the only one."""

    active: set[str]

    def __init__(
        self,
        name: str,
        store: Store,
        clock: VirtualClock,
        active: set[str],
        *,
        slow: float = 0.0,
        elector: type[Elector] = Elector,
    ) -> None:
        """`slow`: seconds that the work takes to stop."""
        self.name, self.store, self.clock, self.active, self.slow = name, store, clock, active, slow
        self.elector = elector(store, clock, name)
        # Monotonic times.
        self.began, self.ended = list[float](), list[float]()

    async def work(self) -> None:
        assert not self.active, f"{self.name} begins while {self.active} works"
        self.active.add(self.name)
        self.began.append(self.clock.monotonic())
        try:
            await asyncio.Event().wait()
        finally:
            if self.slow:
                await self.clock.sleep(self.slow)
            self.active.discard(self.name)
            self.ended.append(self.clock.monotonic())


@asynccontextmanager
async def campaign(
    clock: VirtualClock, *backends: Any, slow: float = 0.0, active: set[str] | None = None, elector: type[Elector] = Elector
) -> AsyncIterator[tuple[list[Plane], list[asyncio.Task[None]]]]:
    """One control plane over each of the backends; `active` are those that work. An error in any of them fails the test."""
    active = set() if active is None else active
    stores = [await Store.open(backend, clock) for backend in backends]
    serving = [asyncio.ensure_future(store.serve()) for store in stores]
    letters = "ab" if elector is Elector else "xy"
    planes = [Plane(letters[index], store, clock, active, slow=slow, elector=elector) for index, store in enumerate(stores)]
    tasks = [asyncio.ensure_future(plane.elector.lead(plane.work)) for plane in planes]
    try:
        yield planes, tasks
    finally:
        for task in (*tasks, *serving):
            task.cancel()
        for _ in range(20):
            await clock.advance(1.0)
        ends = await asyncio.gather(*tasks, *serving, return_exceptions=True)
    for end in ends:
        if end is not None and not isinstance(end, asyncio.CancelledError):
            raise end


# Seconds: by so little is everything on time that is as late as it may be.
MOMENT = 0.01


class Margin(Faulty):
    """Once `cut`, its next commit is done at once and answered as late as an attempt waits; later ones never end."""

    def __init__(self, shared: MemoryBackend, clock: VirtualClock) -> None:
        super().__init__(shared, clock, seed=0)
        self.cut, self.committed = False, float("-inf")

    async def commit(self, txns: Sequence[Txn]) -> list[Any]:
        if self.cut and self.committed > 0:
            await asyncio.Event().wait()
        results = await self._shared.commit(txns)
        if self.cut:
            self.committed = self._clock.monotonic()
            await self._clock.sleep(ATTEMPT - MOMENT)
        return results


class Impatient(Elector):
    """A candidate that polls all the time, and so at the worst moment."""

    async def _campaign(self) -> None:
        while await self._attempt(ATTEMPT) is not Attempt.HELD:
            await self._clock.sleep(MOMENT)


@pytest.mark.parametrize("acquiring", [True, False])
async def test_the_margin_between_two_leaders_is_what_stopping_leaves(acquiring: bool) -> None:
    """With every delay at its limit: the answer of the last commit that succeeds, be it the first of all, the attempts after
    it, the end of the work, and a candidate that takes the lease at the first moment."""
    assert DURATION - DEADLINE - STOP >= PERIOD, "seconds for what is not counted: a machine that is slow, clocks that drift"
    clock, shared = VirtualClock(), Shared()
    last = Margin(shared, clock)
    last.cut = acquiring
    async with campaign(clock, last, slow=STOP - MOMENT) as ([first], _):
        await clock.advance(0 if acquiring else PERIOD / 2)
        last.cut = True
        async with campaign(clock, shared, active=first.active, elector=Impatient) as ([second], _):
            for _ in range(int((DURATION + 2 * PERIOD) / MOMENT)):
                await clock.advance(MOMENT)
            assert (len(first.ended), len(second.began)) == (1, 1)
            assert DEADLINE <= first.ended[0] - last.committed <= DEADLINE + STOP
            # No less, and no more either: else some delay was not at its limit.
            assert second.began[0] - first.ended[0] == pytest.approx(DURATION - DEADLINE - STOP, abs=5 * MOMENT)


@pytest.mark.parametrize("seed", range(20))
async def test_two_never_work_at_once(seed: int) -> None:
    """Whatever becomes of their renewals, and when stopping takes its time; once the store is well, one of them works."""
    clock, shared = VirtualClock(), Shared()
    backends = [Faulty(shared, clock, seed * 2 + index) for index in range(2)]
    async with campaign(clock, *backends, slow=seed % 3) as (planes, tasks):
        for _ in range(600):
            await clock.advance(0.5)
            assert not any(task.done() and task.exception() for task in tasks)
        for backend in backends:
            backend.healthy = True
        # A commit that hangs is waited for first.
        await clock.advance(40 + TAKEOVER)
        assert len(planes[0].active) == 1


async def test_a_leader_that_cannot_renew_stops_before_another_starts() -> None:
    """After the deadline, which is shorter than the lease; it works for as long before that."""
    clock, shared = VirtualClock(), Shared()
    backends = [Faulty(shared, clock, 0), Faulty(shared, clock, 0)]
    for backend in backends:
        backend.healthy = True
    async with campaign(clock, *backends) as (planes, _):
        await settle(50)
        [leader] = planes[0].active
        first, other = sorted(planes, key=lambda plane: plane.name != leader)

        async def never(txns: Sequence[Txn]) -> list[Any]:
            await asyncio.Event().wait()
            raise AssertionError

        first.store.backend.commit = never  # type: ignore[method-assign]
        await clock.advance(DEADLINE - PERIOD - 0.1)
        assert first.active == {first.name}
        await clock.advance(PERIOD + 0.2)
        assert not first.active
        await clock.advance(TAKEOVER)
        assert first.active == {other.name}


async def test_a_clean_shutdown_releases_the_lease() -> None:
    """The other control plane leads at its next look, not after the lease's duration."""
    clock, shared = VirtualClock(), Shared()
    async with campaign(clock, shared, shared) as (planes, tasks):
        await settle(50)
        assert planes[0].active == {"a"}
        tasks[0].cancel()
        await clock.advance(PERIOD + 0.1)
        assert planes[0].active == {"b"}


async def test_the_lease_of_a_killed_process_is_free_where_only_one_can_have_the_state_open() -> None:
    """SQLite and memory: a restart after a crash does not wait."""
    clock, backend = VirtualClock(), MemoryBackend()
    for name in ("before", "after"):
        store = await Store.open(backend, clock)
        active: set[str] = set()
        plane = Plane(name, store, clock, active)
        tasks = [asyncio.ensure_future(part) for part in (store.serve(), plane.elector.lead(plane.work))]
        await settle(50)
        assert active == {name}
        # Killed: the store goes first, so nothing is released.
        tasks[0].cancel()
        tasks[1].cancel()
        await settle(50)
        await clock.advance(10.0)
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_former_leader_cannot_write() -> None:
    """Frozen in its work and resumed after another has taken over, it is stopped by the store, whatever its clock says."""
    clock, shared = VirtualClock(), Shared()
    async with campaign(clock, shared, shared) as (planes, _):
        await settle(50)
        leader = planes[0]
        await leader.elector.store.update(lambda tx: tx.put(kinds.CONFIG_MAP, config_map("before")))

        def steal(tx: Tx) -> None:
            lease = tx.get(kinds.LEASE, SYSTEM_NAMESPACE, LEADER_LEASE)
            assert lease is not None
            lease.spec.holderIdentity = "other"
            tx.put(kinds.LEASE, lease)

        # Its own view of the store may be older than the theft.
        await planes[1].store.update(steal)
        with pytest.raises(NotLeading):
            await leader.elector.store.update(lambda tx: tx.put(kinds.CONFIG_MAP, config_map("after")))
        assert [row.message.metadata.name for row in leader.store.rows(kinds.CONFIG_MAP)] == ["before"]


async def test_work_that_does_not_stop_ends_the_process() -> None:
    """Another may begin soon, and nothing else would keep the two apart."""
    clock, shared = VirtualClock(), Shared()
    store = await Store.open(shared, clock)
    elector = Elector(store, clock, "a")

    async def stubborn() -> None:
        while clock.monotonic() < end:
            try:
                await clock.sleep(100.0)
            except asyncio.CancelledError:
                continue

    end = clock.monotonic() + 50.0
    serving = asyncio.ensure_future(store.serve())
    leading = asyncio.ensure_future(elector.lead(stubborn))
    await settle(50)
    leading.cancel()
    await clock.advance(STOP + 0.1)
    await settle(50)
    with pytest.raises(RuntimeError, match="has not stopped"):
        await leading
    # The lease is not released: what did not stop may still work.
    assert store.get(kinds.LEASE, SYSTEM_NAMESPACE, LEADER_LEASE).spec.holderIdentity == "a"
    await clock.advance(200.0)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
