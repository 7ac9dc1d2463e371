"""The scheduler on every backend: within the limits that it declares."""

from __future__ import annotations

import asyncio

from controlplane import bootstrap, resources
from controlplane.requests import verbs
from controlplane.scheduler.service import Scheduler
from controlplane.store import Store
from controlplane.store.backend import Backend
from pinnace import kinds
from pinnace.clock import RandomIds, SystemClock
from tests.contract.steps import DEADLINE
from tests.support.objects import container, make, node, pod


async def test_victims_that_exceed_one_transaction_together_are_evicted(backend: Backend) -> None:
    """Forty pods of 50 KiB make room for one."""
    clock, ids = SystemClock(), RandomIds(seed=1)
    store = await Store.open(backend, clock, resources.built_in())

    def call() -> verbs.Call:
        return verbs.Call(clock.now(), ids, "test")

    parts = [asyncio.ensure_future(store.serve())]
    try:
        await store.update(lambda tx: bootstrap.objects(tx, call()))
        await store.update(lambda tx: tx.put(kinds.NODE, node("n1", cpu="4")))
        for number in range(40):
            meta = {"annotations": {"a": "x" * (50 << 10)}}
            message = pod(f"p{number}", container(requests={"cpu": "100m"}), meta=meta, nodeName="n1")
            await store.update(lambda tx, message=message: verbs.create(tx, kinds.POD, message, call()))
        await store.update(
            lambda tx: verbs.create(tx, kinds.PRIORITY_CLASS, make(kinds.PRIORITY_CLASS, "high", value=1), call())
        )
        urgent = pod("urgent", container(requests={"cpu": "4"}), priorityClassName="high")
        await store.update(lambda tx: verbs.create(tx, kinds.POD, urgent, call()))
        stored, watcher = store.view_and_watch(kinds.POD)
        parts.append(asyncio.ensure_future(Scheduler(store, clock).run()))
        left = {item.key for item in stored if not item.key.endswith("/urgent")}
        async with asyncio.timeout(DEADLINE):
            async for events in watcher:
                left -= {event.row.key for event in events if event.row.message.metadata.deletionTimestamp.seconds}
                if not left:
                    break
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)


async def test_pods_that_exceed_one_transaction_together_are_bound(backend: Backend) -> None:
    """200 KiB of annotations each; etcd takes 1.5 MiB of one request."""
    clock, ids = SystemClock(), RandomIds(seed=1)
    store = await Store.open(backend, clock, resources.built_in())

    def call() -> verbs.Call:
        return verbs.Call(clock.now(), ids, "test")

    parts = [asyncio.ensure_future(store.serve())]
    try:
        await store.update(lambda tx: bootstrap.objects(tx, call()))
        for number in range(12):
            message = pod(f"p{number}", meta={"annotations": {"a": "x" * (200 << 10)}})
            await store.update(lambda tx, message=message: verbs.create(tx, kinds.POD, message, call()))
        parts.append(asyncio.ensure_future(Scheduler(store, clock).run()))
        stored, watcher = store.view_and_watch(kinds.POD)
        await store.update(lambda tx: tx.put(kinds.NODE, node("n1")))
        waiting = {item.key for item in stored}
        async with asyncio.timeout(DEADLINE):
            async for events in watcher:
                waiting -= {event.row.key for event in events if event.row.message.spec.nodeName == "n1"}
                if not waiting:
                    break
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
