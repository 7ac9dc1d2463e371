"""Pods that are evicted or collected: many, large, held by finalizers, and on nodes that will not come back."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane import conditions
from controlplane.controllers.podgc import QUARANTINE, PodGC
from pinnace import kinds
from pinnace.clock import settle
from pinnace.wellknown import TAINT_OUT_OF_SERVICE
from tests.support.backends import Small
from tests.support.cluster import GRACE, TURNS, Cluster, running
from tests.support.objects import pod

MANY = 150


def deleting(cluster: Cluster) -> list[str]:
    every = [row.message for row in cluster.store.rows(kinds.POD)]
    return sorted(item.metadata.name for item in every if item.metadata.deletionTimestamp.seconds)


async def bound(cluster: Cluster, name: str = "web", node: str = "n1", **rest: Any) -> Any:
    made = await cluster.create(pod(name, nodeName=node, **rest))
    await cluster.report(node, made)
    return made


async def taint(cluster: Cluster, key: str, effect: str = "NoExecute") -> None:
    await cluster.change(kinds.NODE, "n1", lambda found: found.spec.taints.add(key=key, effect=effect))


async def lose(cluster: Cluster) -> None:
    """n1 falls silent; another node does not."""
    await cluster.join("other")
    cluster.alive.add("other")
    await cluster.advance(GRACE + 1)


@pytest.mark.parametrize(("count", "size"), [(MANY, 0), (12, 200_000)])
async def test_any_number_and_size_of_pods_is_marked_and_evicted(count: int, size: int) -> None:
    """In transactions that etcd takes: first not ready, as their node is silent, then evicted."""
    async with running(backend=Small()) as cluster:
        await cluster.join("n1")
        for number in range(count):
            await bound(cluster, f"p{number}", meta={"annotations": {"a": "x" * size}}, tolerations=[{"operator": "Exists"}])
        await lose(cluster)
        every = [row.message for row in cluster.store.rows(kinds.POD)]
        assert all(conditions.find(item.status, "Ready").status == "False" for item in every)
    async with running(backend=Small()) as cluster:
        await cluster.join("n1")
        for number in range(count):
            await bound(cluster, f"p{number}", meta={"annotations": {"a": "x" * size}})
        await taint(cluster, "maintenance")
        await cluster.advance(1)
        assert len(deleting(cluster)) == count


async def test_an_eviction_ends_with_its_taint(cluster: Cluster) -> None:
    """A pod that tolerates for a while and whose node loses the taint in time stays; the next taint counts anew."""
    await cluster.join("n1")
    cluster.alive.add("n1")
    await bound(cluster, tolerations=[{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}])
    for _ in range(3):
        await taint(cluster, "k")
        await cluster.advance(50)
        await cluster.change(kinds.NODE, "n1", lambda found: found.spec.ClearField("taints"))
        await cluster.advance(1)
    assert deleting(cluster) == []
    [event] = cluster.events("TaintManagerEviction")
    assert (event.message, event.count) == ("Cancelling deletion of Pod default/web", 3)


async def test_a_pod_of_a_removed_node_that_a_finalizer_keeps_is_failed(cluster: Cluster) -> None:
    """Its holder learns so; it is removed when the holder lets go."""
    await cluster.join("n1")
    await bound(cluster, meta={"finalizers": ["example.com/hold"]})
    await cluster.delete(kinds.NODE, "n1")
    await cluster.advance(QUARANTINE - 5)
    assert cluster.get(kinds.POD, "web").status.phase == "Running"
    await cluster.advance(10)
    found = cluster.get(kinds.POD, "web")
    target = conditions.find(found.status, "DisruptionTarget")
    assert (found.status.phase, target.status, target.reason) == ("Failed", "True", "DeletionByPodGC")
    assert (bool(found.metadata.deletionTimestamp.seconds), found.metadata.deletionGracePeriodSeconds) == (True, 0)
    version = found.metadata.resourceVersion
    await cluster.advance(600)
    assert cluster.get(kinds.POD, "web").metadata.resourceVersion == version
    await cluster.change(kinds.POD, "web", lambda found: found.metadata.ClearField("finalizers"))
    assert cluster.get(kinds.POD, "web") is None


async def test_the_quarantine_of_a_removed_node_ignores_the_wall_clock(cluster: Cluster) -> None:
    """It may have been removed by mistake."""
    await cluster.join("n1")
    await bound(cluster)
    await cluster.delete(kinds.NODE, "n1")
    await cluster.advance(10)
    cluster.clock.step(3600.0)
    await cluster.advance(QUARANTINE - 15)
    assert cluster.get(kinds.POD, "web") is not None
    await cluster.advance(10)
    assert cluster.get(kinds.POD, "web") is None


async def test_a_deleted_pod_that_never_had_a_node_is_removed(cluster: Cluster) -> None:
    """With a finalizer it is marked as failed; nobody else would report on it."""
    await cluster.create(pod("web", meta={"finalizers": ["example.com/hold"]}))
    await cluster.delete(kinds.POD, "web")
    await cluster.advance(1)
    assert cluster.get(kinds.POD, "web").status.phase == "Failed"
    await cluster.change(kinds.POD, "web", lambda found: found.metadata.ClearField("finalizers"))
    assert cluster.get(kinds.POD, "web") is None


async def test_terminating_pods_of_a_node_out_of_service_are_removed(cluster: Cluster) -> None:
    """The administrator's taint says that nothing runs there any more. Other pods, and pods of a ready node, stay."""
    await cluster.join("n1")
    await bound(cluster, "going")
    await bound(cluster, "staying", tolerations=[{"operator": "Exists"}])
    await cluster.delete(kinds.POD, "going")
    await taint(cluster, TAINT_OUT_OF_SERVICE, "NoSchedule")
    await cluster.advance(5)
    assert cluster.get(kinds.POD, "going") is not None
    await lose(cluster)
    await cluster.advance(5)
    assert (cluster.get(kinds.POD, "going"), cluster.get(kinds.POD, "staying").status.phase) == (None, "Running")


async def test_the_oldest_finished_pods_are_removed_beyond_a_number() -> None:
    """As --terminated-pod-gc-threshold says."""
    async with running(podgc=PodGC(terminated=3)) as cluster:
        await cluster.join("n1")
        cluster.alive.add("n1")
        for number in range(5):
            made = await cluster.create(pod(f"p{number}", nodeName="n1"))
            await cluster.report("n1", made, phase="Succeeded")
            await cluster.advance(2)
        await settle(TURNS)
        assert cluster.names(kinds.POD) == ["p2", "p3", "p4"]


async def test_evicted_pods_are_the_first_finished_ones_to_be_removed() -> None:
    """However new they are: their controllers replaced them elsewhere, and the others may still be counted."""
    async with running(podgc=PodGC(terminated=3)) as cluster:
        await cluster.join("n1")
        cluster.alive.add("n1")
        for number in range(4):
            made = await cluster.create(pod(f"p{number}", nodeName="n1"))
            end = {"phase": "Failed", "reason": "Evicted"} if number == 2 else {"phase": "Succeeded"}
            await cluster.report("n1", made, **end)
            await cluster.advance(2)
        await settle(TURNS)
        assert cluster.names(kinds.POD) == ["p0", "p1", "p3"]


async def test_a_node_out_of_service_is_no_reason_of_its_own(cluster: Cluster) -> None:
    """A pod that a finalizer keeps is failed; what disrupted it is what deleted it."""
    await cluster.join("n1")
    await bound(cluster, meta={"finalizers": ["example.com/hold"]})
    await cluster.delete(kinds.POD, "web")
    await taint(cluster, TAINT_OUT_OF_SERVICE, "NoSchedule")
    await lose(cluster)
    await cluster.advance(5)
    found = cluster.get(kinds.POD, "web")
    assert found.status.phase == "Failed"
    assert conditions.find(found.status, "DisruptionTarget") is None
