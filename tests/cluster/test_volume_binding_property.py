"""No claim and no volume is ever bound twice, whatever users, the binder, the provisioner and the scheduler do at once."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pinnace import kinds
from pinnace.clock import settle
from pinnace.errors import ApiError
from tests.cluster.test_volume_scheduling import nodes
from tests.support.cluster import TURNS, Cluster, running
from tests.support.storage import claim, local_volume, storage_class, using, volume

CLAIM, VOLUME, POD = kinds.PERSISTENT_VOLUME_CLAIM, kinds.PERSISTENT_VOLUME, kinds.POD
NAMES = st.integers(0, 2)
CLASSES = st.sampled_from(["", "", "local", "local-path"])
SIZES = st.sampled_from(["1Gi", "2Gi"])
ACTIONS = st.one_of(
    st.tuples(st.just("claim"), NAMES, CLASSES, SIZES),
    st.tuples(st.just("volume"), NAMES, CLASSES, SIZES),
    st.tuples(st.just("reserve"), NAMES, NAMES, CLASSES),
    st.tuples(st.just("pod"), NAMES, NAMES, NAMES),
    st.tuples(st.just("drop"), st.sampled_from([CLAIM, VOLUME, POD]), NAMES),
    st.tuples(st.just("release"), NAMES),
)


class World:
    """Users who do not wait for each other, and what must hold after every commit."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.claims: dict[str, Any] = {}
        self.volumes: dict[str, Any] = {}
        # UID of a claim to the volume that it was bound to first.
        self.bound: dict[str, str] = {}

    async def watch(self) -> None:
        _, watcher = self.cluster.store.view_and_watch(CLAIM, VOLUME)
        try:
            async for events in watcher:
                for event in events:
                    table = self.claims if event.row.kind is CLAIM else self.volumes
                    table.pop(event.row.key, None)
                    if event.new is not None:
                        table[event.row.key] = event.new.message
                self.check()
        finally:
            watcher.close()

    def check(self) -> None:
        taken: dict[str, str] = {}
        for item in self.claims.values():
            name = item.spec.volumeName
            if item.status.phase != "Bound":
                continue
            assert self.bound.setdefault(item.metadata.uid, name) == name, "a claim has another volume than before"
            assert taken.setdefault(name, item.metadata.uid) == item.metadata.uid, "two claims have one volume"
            found = self.volumes.get(VOLUME.key("", name))
            if found is not None:
                ours = found.spec.claimRef.uid in ("", item.metadata.uid)
                assert ours, "a bound claim's volume is another claim's"
        owners = [item.spec.claimRef.uid for item in self.volumes.values() if item.status.phase == "Bound"]
        assert len(set(owners)) == len(owners), "two volumes are bound to one claim"

    async def act(self, action: tuple[Any, ...]) -> None:
        name, *values = action
        # Names that are taken, and objects that are gone.
        with contextlib.suppress(ApiError):
            await getattr(self, name)(*values)

    async def claim(self, number: int, class_: str, size: str) -> None:
        await self.cluster.create(claim(f"c{number}", size, storage_class=class_))

    async def volume(self, number: int, class_: str, size: str) -> None:
        await self.cluster.create(local_volume(f"v{number}", "n1", "n2", size=size, storage_class=class_))

    async def reserve(self, number: int, of: int, class_: str) -> None:
        ref = {"namespace": "default", "name": f"c{of}"}
        await self.cluster.create(volume(f"v{number}", storage_class=class_, claimRef=ref))

    async def pod(self, number: int, first: int, second: int) -> None:
        await self.cluster.create(using(*{f"c{first}": 0, f"c{second}": 0}, name=f"p{number}"))

    async def drop(self, kind: Any, number: int) -> None:
        name = {CLAIM: "c", VOLUME: "v", POD: "p"}[kind] + str(number)
        found = self.cluster.get(kind, name)
        await self.cluster.delete(kind, name, **({"grace": 0} if kind is POD else {}))
        if kind is POD and found is not None and found.spec.nodeName:
            await self.cluster.report(found.spec.nodeName, found, phase="Succeeded", removed=True)

    async def release(self, number: int) -> None:
        def clear(item: Any) -> None:
            if item.status.phase == "Released":
                item.spec.ClearField("claimRef")

        await self.cluster.change(VOLUME, f"v{number}", clear)


async def play(actions: list[tuple[tuple[Any, ...], int]]) -> World:
    async with running() as cluster:
        world = World(cluster)
        await nodes(cluster, "n1", "n2")
        await cluster.create(storage_class("local", mode="WaitForFirstConsumer"))
        watching = asyncio.ensure_future(world.watch())
        acting = []
        for action, turns in actions:
            acting.append(asyncio.ensure_future(world.act(action)))
            await settle(turns)
        await asyncio.gather(*acting)
        await settle(TURNS)
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
    return world


# Two claims wait for the volume that comes: both see it free at once. Then two pods, of which the scheduler sees the same.
RACE = [(("claim", 0, "", "1Gi"), 12), (("claim", 1, "", "1Gi"), 12), (("volume", 0, "", "1Gi"), 0)]
POD_RACE = [
    (("claim", 0, "local", "1Gi"), 12), (("claim", 1, "local", "1Gi"), 12), (("pod", 0, 0, 0), 12), (("pod", 1, 1, 1), 12),
    (("volume", 0, "local", "1Gi"), 0), (("reserve", 1, 1, "local"), 0),
]  # fmt: skip


@settings(max_examples=40, deadline=None)
@example(RACE)
@example(POD_RACE)
@given(st.lists(st.tuples(ACTIONS, st.integers(0, 12)), max_size=25))
def test_nothing_is_bound_twice(actions: list[tuple[tuple[Any, ...], int]]) -> None:
    """Requests overlap with each other and with the controllers, whose transactions then conflict."""
    asyncio.run(play(actions))


def test_claims_are_bound_in_such_a_world() -> None:
    """The property is about something: volumes that were made, found by name, reserved, and chosen by the scheduler."""
    actions: list[tuple[Any, ...]] = [
        ("claim", 0, "", "1Gi"), ("volume", 0, "", "1Gi"), ("claim", 1, "local", "1Gi"), ("volume", 1, "local", "1Gi"),
        ("claim", 2, "local-path", "1Gi"), ("claim", 3, "", "2Gi"), ("reserve", 3, 3, ""), ("pod", 0, 1, 2),
        ("volume", 2, "", "2Gi"),
    ]  # fmt: skip
    world = asyncio.run(play([(action, 3) for action in actions]))
    assert sorted(name for name in world.bound.values() if name.startswith("v")) == ["v0", "v1", "v2"]
    assert len(world.bound) == 4


def test_the_property_sees_a_second_binding() -> None:
    """Of a volume that another client has given to two claims."""

    async def run() -> None:
        async with running() as cluster:
            world = World(cluster)
            for name in ("c0", "c1"):
                item = claim(name, volumeName="v0")
                item.metadata.uid, item.status.phase = name, "Bound"
                world.claims[name] = item
            with pytest.raises(AssertionError, match="two claims have one volume"):
                world.check()

    asyncio.run(run())
