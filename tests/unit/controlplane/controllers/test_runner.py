"""The runner: failures stay with their key, keys run side by side, and the event loop keeps its turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import pytest

from controlplane.controllers.runner import Controller, ControllerManager, Moment, Requeue
from controlplane.store import Event, Store, Tx
from controlplane.store.memory import MemoryBackend
from controlplane.turns import SLICE
from pinnace import kinds
from pinnace.clock import VirtualClock, perf, settle
from pinnace.errors import Unavailable
from tests.support.objects import config_map

Reconcile = Callable[[Tx, str, Moment], Requeue | None]


class Scripted:
    """Reconciles ConfigMaps of the namespace default by their names."""

    watches = (kinds.CONFIG_MAP,)

    def __init__(self, reconcile: Reconcile, name: str = "scripted") -> None:
        self.name = name
        self._reconcile = reconcile

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        if event.row.kind is kinds.CONFIG_MAP and event.new is not None:
            yield event.row.key.rsplit("/", 1)[1]

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        return self._reconcile(tx, key, now)


@asynccontextmanager
async def running(*controllers: Controller, clock: VirtualClock | None = None) -> AsyncIterator[Store]:
    """A store with these controllers, which must not end by themselves."""
    clock = clock or VirtualClock()
    store = await Store.open(MemoryBackend(), clock)
    tasks = [asyncio.ensure_future(part) for part in (store.serve(), ControllerManager(store, clock, controllers).run())]
    try:
        yield store
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.close()


async def put(store: Store, *names: str) -> None:
    def fn(tx: Tx) -> None:
        for name in names:
            tx.put(kinds.CONFIG_MAP, config_map(name))

    await store.update(fn)
    await settle(100)


@pytest.mark.parametrize("error", [ValueError, OverflowError, RecursionError, Unavailable])
async def test_an_exception_belongs_to_its_key(error: type[Exception]) -> None:
    """It is tried again with a growing delay, without an end; other keys do not wait."""
    clock, seen = VirtualClock(), {"bad": 0, "good": 0}

    def reconcile(tx: Tx, key: str, now: Moment) -> None:
        seen[key] += 1
        if key == "bad":
            raise error("a defect")

    async with running(Scripted(reconcile), clock=clock) as store:
        await put(store, "bad", "good")
        assert seen == {"bad": 1, "good": 1}
        await clock.advance(1.0)
        assert seen["bad"] == 5
        await clock.advance(50 * 30.0)
        assert 50 <= seen["bad"] <= 65
        await put(store, "good")
        assert seen["good"] == 2


async def test_a_success_resets_the_back_off() -> None:
    """The next failure waits as the first did."""
    clock, seen, fails = VirtualClock(), 0, True

    def reconcile(tx: Tx, key: str, now: Moment) -> None:
        nonlocal seen
        seen += 1
        if fails:
            raise ValueError

    async with running(Scripted(reconcile), clock=clock) as store:
        await put(store, "a")
        await clock.advance(60.0)
        fails = False
        await clock.advance(60.0)
        fails, seen = True, 0
        await put(store, "a")
        await clock.advance(0.06)
        assert seen == 2


async def test_an_event_that_a_controller_cannot_read_concerns_no_other() -> None:
    """Neither other events of this controller nor other controllers."""
    seen: list[str] = []

    class Broken(Scripted):
        def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
            if event.row.key.endswith("bad"):
                raise ValueError("unreadable")
            return super().keys(event, view, watched)

    def note(name: str) -> Reconcile:
        return lambda tx, key, now: seen.append(f"{name} {key}")

    async with running(Broken(note("broken"), "broken"), Scripted(note("sound"), "sound")) as store:
        await put(store, "bad")
        await put(store, "good")
        assert sorted(seen) == ["broken good", "sound bad", "sound good"]


async def test_controllers_share_one_watch() -> None:
    """However many they are."""
    controllers = [Scripted(lambda tx, key, now: None, f"c{number}") for number in range(6)]
    async with running(*controllers) as store:
        await settle()
        assert store.watchers == 1


def half_a_slice() -> None:
    """Work that takes at least so long: two fit into a turn, however slow the machine is."""
    until = perf() + SLICE / 2
    while perf() < until:
        pass


async def most_in_a_turn(done: list[str], until: int) -> int:
    """The most that were added to `done` in one turn of the loop, until there are `until`."""
    most, before = 0, len(done)
    async with asyncio.timeout(60):
        while len(done) < until:
            await asyncio.sleep(0)
            most, before = max(most, len(done) - before), len(done)
    return most


async def test_many_keys_that_write_nothing_leave_the_loop_its_turns() -> None:
    """Nothing in a reconciliation awaits then, and four controllers with eight keys each at once share one turn."""
    done: list[str] = []

    def reconcile(tx: Tx, key: str, now: Moment) -> None:
        half_a_slice()
        done.append(key)

    async with running(*(Scripted(reconcile, f"c{number}") for number in range(4))) as store:
        loading = asyncio.ensure_future(put(store, *(f"c{number}" for number in range(50))))
        assert await most_in_a_turn(done, 200) <= 2
        await loading


async def test_many_events_at_once_leave_the_loop_its_turns() -> None:
    """Finding their keys is work too."""
    done: list[str] = []

    class Slow(Scripted):
        def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
            half_a_slice()
            done.append(event.row.key)
            return ()

    async with running(Slow(lambda tx, key, now: None)) as store:
        loading = asyncio.ensure_future(put(store, *(f"c{number}" for number in range(100))))
        assert await most_in_a_turn(done, 100) <= 2
        await loading


async def test_keys_are_reconciled_side_by_side() -> None:
    """Those that wait for a commit share it: the store sees several transactions at once."""
    commits: list[int] = []

    class Counting(MemoryBackend):
        async def commit(self, txns):  # type: ignore[no-untyped-def]
            commits.append(len(txns))
            await asyncio.sleep(0)
            return await super().commit(txns)

    def reconcile(tx: Tx, key: str, now: Moment) -> None:
        found = tx.get(kinds.CONFIG_MAP, "default", key)
        if found is not None and "seen" not in found.data:
            found.data["seen"] = "yes"
            tx.put(kinds.CONFIG_MAP, found)

    clock = VirtualClock()
    store = await Store.open(Counting(), clock)
    manager = ControllerManager(store, clock, [Scripted(reconcile)])
    tasks = [asyncio.ensure_future(part) for part in (store.serve(), manager.run())]
    await put(store, *(f"c{number}" for number in range(8)))
    assert max(commits) >= 4
    assert all(row.message.data["seen"] == "yes" for row in store.rows(kinds.CONFIG_MAP))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await store.close()


async def test_a_gap_in_the_watch_brings_every_object_again() -> None:
    """The controllers list anew."""
    seen: list[str] = []
    async with running(Scripted(lambda tx, key, now: seen.append(key))) as store:
        await put(store, "a", "b")
        seen.clear()
        for watcher in store.cache.current_watchers():
            watcher.lose()
        await settle(100)
        assert sorted(seen) == ["a", "b"]
