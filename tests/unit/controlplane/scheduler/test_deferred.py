"""The scheduler that is imported late: with the first pod that waits for a node, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from controlplane import bootstrap, resources
from controlplane.requests import verbs
from controlplane.scheduler.deferred import DeferredScheduler
from controlplane.store import Store
from controlplane.store.memory import MemoryBackend
from pinnace import kinds
from pinnace.clock import RandomIds, SystemClock
from tests.support.awaiting import eventually
from tests.support.objects import node, pod

CLOCK, IDS = SystemClock(), RandomIds(seed=1)
# Seconds, also for the import on a busy machine.
DEADLINE = 60.0


def call() -> verbs.Call:
    return verbs.Call(CLOCK.now(), IDS, "test")


async def create(store: Store, name: str) -> None:
    await store.update(lambda tx: verbs.create(tx, kinds.POD, pod(name), call()))


def placed(store: Store, name: str) -> str:
    return str(store.get(kinds.POD, "default", name).spec.nodeName)


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """With one node."""
    made = await Store.open(MemoryBackend(), CLOCK, resources.built_in())
    serving = asyncio.ensure_future(made.serve())
    await made.update(lambda tx: bootstrap.objects(tx, call()))
    await made.update(lambda tx: tx.put(kinds.NODE, node("n1")))
    yield made
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    await made.close()


@pytest.mark.parametrize("before", [True, False])
async def test_the_first_pod_is_placed(store: Store, before: bool) -> None:
    """Whether it is there already or comes later; `kctl why` explains it then."""
    scheduler = DeferredScheduler(store, CLOCK)
    if before:
        await create(store, "first")
    assert scheduler.explain("default", "first", "no uid yet") is None
    running = asyncio.ensure_future(scheduler.run())
    try:
        await asyncio.sleep(0)
        if not before:
            await create(store, "first")
        await eventually(lambda: placed(store, "first") == "n1", within=DEADLINE)
        uid = store.get(kinds.POD, "default", "first").metadata.uid
        found = scheduler.explain("default", "first", uid)
        assert found is not None
        assert found.decision.node == "n1"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_it_schedules_again_after_it_has_led_before(store: Store) -> None:
    """What a control plane does that loses its lease and gets it again, the first time before there was a pod."""
    scheduler = DeferredScheduler(store, CLOCK)
    for name in ("", "one", "two"):
        running = asyncio.ensure_future(scheduler.run())
        await asyncio.sleep(0)
        if name:
            await create(store, name)
            await eventually(lambda name=name: placed(store, name) == "n1", within=DEADLINE)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_without_a_pod_that_waits_nothing_is_imported(store: Store) -> None:
    """Nor for one that names its node, as a pod of a DaemonSet may, or that a restarted control plane finds bound."""
    await store.update(lambda tx: verbs.create(tx, kinds.POD, pod("bound", nodeName="n1"), call()))
    scheduler = DeferredScheduler(store, CLOCK)
    running = asyncio.ensure_future(scheduler.run())
    try:
        await store.update(lambda tx: verbs.create(tx, kinds.POD, pod("also", nodeName="n1"), call()))
        await asyncio.sleep(0.1)
        assert not scheduler.imported
        await create(store, "waits")
        await eventually(lambda: placed(store, "waits") == "n1", within=DEADLINE)
        assert scheduler.imported
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
