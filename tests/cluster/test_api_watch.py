"""Watch: the state, a bookmark, then what happens; and 410 when history does not reach back."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from controlplane.store.memory import MemoryBackend
from pinnace import errors, kinds
from pinnace.api.v1 import objects_pb2
from pinnace.clock import VirtualClock
from tests.support.api import Api, config, opened
from tests.support.cluster import Cluster, running

CONFIG = kinds.CONFIG_MAP


async def test_a_watch_begins_with_the_state_and_a_bookmark(api: Api) -> None:
    """Then come changes, each with its revision."""
    for name in "ba":
        await api.create(CONFIG, config(name))
    async with api.watch(CONFIG) as watch:
        assert [await watch.next() for _ in range(3)] == [("ADDED", "a"), ("ADDED", "b"), ("BOOKMARK", "")]
        made = await api.create(CONFIG, config("c"))
        event = await watch.event()
        assert (event.type, event.resourceVersion) == (event.ADDED, made.metadata.resourceVersion)
        assert opened(event.object).metadata.resourceVersion == made.metadata.resourceVersion
        await api.update(CONFIG, config("c", x="1"))
        await api.delete(CONFIG, "c")
        assert [await watch.next() for _ in range(2)] == [("MODIFIED", "c"), ("DELETED", "c")]


async def test_an_empty_state_still_has_its_bookmark(api: Api) -> None:
    """A client knows then that it has seen all there is."""
    async with api.watch(CONFIG) as watch:
        event = await watch.event()
        assert event.type == event.BOOKMARK
        assert int(event.resourceVersion) > 0


async def test_a_list_and_a_watch_from_its_revision_miss_nothing(api: Api) -> None:
    """Nor does anything come twice."""
    await api.create(CONFIG, config("a"))
    revision = (await api.list(CONFIG)).resourceVersion
    await api.create(CONFIG, config("b"))
    async with api.watch(CONFIG, resourceVersion=revision) as watch:
        assert await watch.next() == ("ADDED", "b")
        await api.delete(CONFIG, "a")
        assert await watch.next() == ("DELETED", "a")


async def test_objects_enter_and_leave_a_selection(api: Api) -> None:
    """An object that stops matching is deleted to the watcher; one that never matched is not there."""
    async with api.watch(CONFIG, labelSelector="app=web") as watch:
        await watch.next()
        await api.create(CONFIG, config("a", {"app": "db"}))
        await api.update(CONFIG, config("a", {"app": "web"}))
        await api.update(CONFIG, config("a", {"app": "web"}, x="1"))
        await api.update(CONFIG, config("a", {"app": "db"}))
        await api.update(CONFIG, config("a", {"app": "db"}, x="2"))
        await api.create(CONFIG, config("end", {"app": "web"}))
        seen = [await watch.next() for _ in range(4)]
    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "end")]


async def test_an_object_that_leaves_a_selection_is_deleted_as_it_last_matched(api: Api) -> None:
    """With the labels by which the watcher knows it, and the revision of the change."""
    await api.create(CONFIG, config("a", {"app": "web"}, x="1"))
    async with api.watch(CONFIG, labelSelector="app=web") as watch:
        assert [await watch.next() for _ in range(2)] == [("ADDED", "a"), ("BOOKMARK", "")]
        changed = await api.update(CONFIG, config("a", {"app": "db"}, x="2"))
        event = await watch.event()
    gone = opened(event.object)
    assert event.type == event.DELETED
    assert (dict(gone.metadata.labels), dict(gone.data)) == ({"app": "web"}, {"x": "1"})
    assert event.resourceVersion == gone.metadata.resourceVersion == changed.metadata.resourceVersion


async def test_a_watch_from_revision_0_begins_with_the_state(api: Api) -> None:
    """Any state, as in Kubernetes; it is not Expired."""
    await api.create(CONFIG, config("a"))
    async with api.watch(CONFIG, resourceVersion="0") as watch:
        assert [await watch.next() for _ in range(2)] == [("ADDED", "a"), ("BOOKMARK", "")]
        await api.create(CONFIG, config("b"))
        assert await watch.next() == ("ADDED", "b")


async def test_a_watch_from_the_future_is_expired(api: Api) -> None:
    """Whoever has seen that revision saw it in another state, such as before a restore."""
    revision = int((await api.list(CONFIG)).resourceVersion)
    with pytest.raises(errors.Expired):
        async with api.watch(CONFIG, resourceVersion=str(revision + 1000)) as watch:
            await watch.next()


async def test_a_watch_of_one_object_or_namespace_sees_no_other(cluster: Cluster, api: Api) -> None:
    """A name is matched whole, a namespace too."""
    async with (
        api.watch(CONFIG, ref=api.ref(CONFIG, "a")) as one,
        api.watch(CONFIG, ref=api.ref(CONFIG, "", "kube-system")) as elsewhere,
        api.watch(CONFIG, ref=api.ref(CONFIG, "", "")) as everywhere,
    ):
        for watch in (one, elsewhere, everywhere):
            assert await watch.next() == ("BOOKMARK", "")
        system = config("a")
        system["metadata"]["namespace"] = "kube-system"
        await api.create(CONFIG, config("ab"))
        await api.create(CONFIG, system)
        await api.create(CONFIG, config("a"))
        assert opened((await one.event()).object).metadata.namespace == "default"
        assert opened((await elsewhere.event()).object).metadata.namespace == "kube-system"
        assert [(await everywhere.next())[1] for _ in range(3)] == ["ab", "a", "a"]


async def test_a_revision_before_history_is_gone() -> None:
    """410 Expired: list again. A control plane that restarted has no history."""
    backend, clock = MemoryBackend(), VirtualClock()
    async with running(backend=backend, clock=clock) as before:
        await Api(before).create(CONFIG, config("a"))
    async with running(backend=backend, clock=clock) as after:
        with pytest.raises(errors.Expired) as caught:
            async with Api(after).watch(CONFIG, resourceVersion="1") as watch:
                await watch.next()
    assert (caught.value.http, caught.value.reason) == (410, "Expired")


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "٣", "9" * 40])
async def test_a_revision_is_a_number(api: Api, text: str) -> None:
    """Anything else is refused by its text."""
    with pytest.raises(errors.Invalid):
        async with api.watch(CONFIG, resourceVersion=text) as watch:
            await watch.next()


async def test_a_watcher_that_falls_behind_is_cut_off(cluster: Cluster, api: Api) -> None:
    """It is told so, instead of being waited for or missing something."""
    async with api.watch(CONFIG) as watch:
        await watch.next()
        await _flood(cluster, 5001)
        with pytest.raises(errors.Expired):
            await watch.next()


async def _flood(cluster: Cluster, count: int) -> None:
    def fn(tx: object) -> None:
        for number in range(count):
            message = CONFIG.cls()
            message.metadata.name, message.metadata.namespace = f"c{number}", "default"  # type: ignore[attr-defined]
            tx.put(CONFIG, message)  # type: ignore[attr-defined]

    await cluster.store.update(fn)


async def test_a_large_state_comes_in_several_messages(cluster: Cluster, api: Api) -> None:
    """And a watcher that leaves in the middle of it leaves nothing behind."""
    await _flood(cluster, 250)
    before = cluster.store.watchers
    async with api.watch(CONFIG) as watch:
        assert (await watch.next())[0] == "ADDED"
        assert cluster.store.watchers == before + 1
    assert cluster.store.watchers == before
    async with api.watch(CONFIG) as watch:
        seen = [await watch.next() for _ in range(251)]
    assert seen[-1] == ("BOOKMARK", "")


async def test_watchers_that_do_not_read_hold_no_copy_of_the_state(cluster: Cluster, api: Api) -> None:
    """A hundred of them over five megabytes, of which each has read one message."""
    await _fill(cluster, count=50, size=100_000)
    responses = [cluster.api.Watch(objects_pb2.WatchRequest(ref=api.ref(CONFIG)), None) for _ in range(100)]
    tracemalloc.start()
    try:
        for response in responses:
            await anext(response)
        await _fill(cluster, count=20, size=100_000)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        for response in responses:
            await response.aclose()
    # The writes themselves: each version of twenty objects, in the cache, its history and the backend's log.
    assert held < 30_000_000


async def _fill(cluster: Cluster, *, count: int, size: int) -> None:
    for number in range(count):
        message = CONFIG.cls()
        message.metadata.name, message.metadata.namespace = f"c{number}", "default"
        message.data["x"] = "x" * size
        await cluster.store.update(lambda tx, message=message: tx.put(CONFIG, message))
