"""Two control planes on one etcd: each has the whole timeline, with who wrote at the other one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from controlplane import resources
from controlplane.rpc.permissions import Permissions
from controlplane.rpc.timeline import Timeline
from controlplane.store import Store, Tx, origin
from controlplane.store.etcd import EtcdBackend
from controlplane.timeline.log import Limits, Log
from controlplane.timeline.recorder import Recorder
from pinnace import kinds
from pinnace.api.v1 import objects_pb2, timeline_pb2
from pinnace.clock import SystemClock
from tests.contract.steps import DEADLINE
from tests.support import objects

REF = objects_pb2.Reference(apiVersion="v1", kind="ConfigMap", namespace="default", name="settings")


@asynccontextmanager
async def plane(endpoint: str, folder: Path) -> AsyncIterator[tuple[Store, Timeline]]:
    folder.mkdir()
    store = await Store.open(EtcdBackend([endpoint], root="/two-timelines"), SystemClock(), resources.built_in())
    recorder = Recorder(store, SystemClock(), Log(folder / "timeline.db", Limits()))
    tasks = [asyncio.ensure_future(store.serve()), asyncio.ensure_future(recorder.run())]
    try:
        yield store, Timeline(store, Permissions(), recorder)
    finally:
        for task in reversed(tasks):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await store.close()


async def write(store: Store, who: str, value: str) -> None:
    def fn(tx: Tx) -> None:
        item = tx.get(kinds.CONFIG_MAP, "default", "settings") or objects.config_map("settings")
        item.metadata.uid = "u"
        item.data["a"] = value
        tx.put(kinds.CONFIG_MAP, item)

    with origin.acting(who):
        await store.update(fn)


async def read(timeline: Timeline, count: int) -> list[tuple[str, int]]:
    """Once there are so many records: who, and at which revision."""
    async with asyncio.timeout(DEADLINE):
        while True:
            request = timeline_pb2.TimelineRequest(ref=REF)
            found = [record async for response in timeline.Read(request, None) for record in response.records]
            if len(found) >= count:
                return [(record.actor, record.revision) for record in found]
            await asyncio.sleep(0.05)


async def test_each_control_plane_has_the_whole_timeline(etcd: str, tmp_path: Path) -> None:
    """In the same order, at the same revisions."""
    async with plane(etcd, tmp_path / "a") as (one, first), plane(etcd, tmp_path / "b") as (other, second):
        await write(one, "jane", "1")
        await other.sync()
        await write(other, "john", "2")
        await one.sync()
        await write(one, "controller:x", "3")
        here, there = await read(first, 3), await read(second, 3)
    assert [who for who, _ in here] == ["jane", "john", "controller:x"]
    assert here == there
