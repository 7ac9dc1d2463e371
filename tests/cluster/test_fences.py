"""A node that may still run pods which the cluster has replaced is no peer of the others until its agent has ended them."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.dispatcher.fences import Fences
from controlplane.dispatcher.router import Router
from controlplane.store import Tx
from pinnace import kinds
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import settle
from pinnace.wellknown import ANNOTATION_FENCED, TAINT_OUT_OF_SERVICE
from tests.support.cluster import GRACE, TURNS, Cluster
from tests.support.objects import pod


async def join(cluster: Cluster, *names: str) -> None:
    """Nodes with what the overlay needs."""
    for number, name in enumerate(names, 1):
        await cluster.join(name)

        def address(tx: Tx, name: str = name, number: int = number) -> None:
            node = tx.require(kinds.NODE, "", name)
            node.status.addresses.add(type="InternalIP", address=f"192.0.2.{number}")
            tx.put(kinds.NODE, node)

        await cluster.store.update(address)
    await settle(TURNS)


async def lost(cluster: Cluster, *pods: Any) -> None:
    """Nodes n1 and n2; the agent of n1 falls silent, with these pods on it."""
    await join(cluster, "n1", "n2")
    for item in pods:
        await cluster.create(item)
        found = cluster.get(kinds.POD, item.metadata.name)
        await cluster.report("n1", found, containerStatuses=[{"name": "main", "state": {"running": {}}}])
    await cluster.advance(GRACE + 2, beating=("n2",))


def fenced(cluster: Cluster) -> bool:
    """As the other nodes and users see it, which must agree."""
    node = cluster.get(kinds.NODE, "n1")
    marked = node is not None and ANNOTATION_FENCED in node.metadata.annotations
    assert ("n1" not in cluster.router.peers.nodes()) == marked
    assert "n2" in cluster.router.peers.nodes()
    return marked


async def applied(cluster: Cluster, revision: int) -> None:
    cluster.router.applied("n1", revision)
    await settle(TURNS)


async def test_a_pod_that_is_removed_by_force_fences_its_silent_node(cluster: Cluster) -> None:
    """Until its agent has applied an assignment without the pod, and not by a heartbeat alone."""
    await lost(cluster, pod("web", nodeName="n1"))
    assert not fenced(cluster)
    await cluster.delete(kinds.POD, "web", grace=0)
    assert fenced(cluster)
    removed = cluster.store.revision
    await cluster.beat("n1")
    await applied(cluster, 1)
    assert fenced(cluster)
    await applied(cluster, removed)
    assert not fenced(cluster)
    assert [event.type for event in cluster.events("NodeFenced")] == ["Warning"]
    assert len(cluster.events("NodeUnfenced")) == 1


async def test_pods_of_a_node_that_is_out_of_service_fence_it(cluster: Cluster) -> None:
    """The control plane removes them without the agent."""
    await lost(cluster, pod("web", nodeName="n1"))
    await cluster.delete(kinds.POD, "web")
    assert not fenced(cluster)
    await cluster.change(kinds.NODE, "n1", lambda node: node.spec.taints.add(key=TAINT_OUT_OF_SERVICE, effect="NoExecute"))
    assert cluster.get(kinds.POD, "web") is None
    assert fenced(cluster)


async def test_a_node_that_is_heard_is_not_fenced(cluster: Cluster) -> None:
    """Its agent kills the pod at once; and a pod that the agent has removed fences nothing."""
    await join(cluster, "n1", "n2")
    for name in ("web", "old"):
        await cluster.create(pod(name, nodeName="n1"))
    await cluster.delete(kinds.POD, "web", grace=0)
    await cluster.delete(kinds.POD, "old")
    await cluster.report("n1", cluster.get(kinds.POD, "old"), phase="Failed", removed=True)
    assert not fenced(cluster)


async def test_a_pod_whose_containers_have_ended_fences_nothing(cluster: Cluster) -> None:
    """By what its agent has said of them."""
    await join(cluster, "n1", "n2")
    await cluster.create(pod("web", nodeName="n1", restartPolicy="Never"))
    ended = [{"name": "main", "state": {"terminated": {"exitCode": 0}}}]
    await cluster.report("n1", cluster.get(kinds.POD, "web"), phase="Succeeded", containerStatuses=ended)
    await cluster.advance(GRACE + 2, beating=("n2",))
    await cluster.delete(kinds.POD, "web", grace=0)
    assert not fenced(cluster)


async def test_a_fence_outlasts_the_control_plane(cluster: Cluster) -> None:
    """The next one's router takes it from the Node."""
    await lost(cluster, pod("web", nodeName="n1"))
    await cluster.delete(kinds.POD, "web", grace=0)
    other = Router(cluster.store, cluster.cidrs)
    other.load(cluster.store.rows(kinds.NODE, ""))
    assert other.peers.nodes() == ["n2"]
    other.applied("n1", 1)
    assert "n1" in other.fences
    other.applied("n1", cluster.store.revision)
    assert sorted(other.peers.nodes()) == ["n1", "n2"]


async def test_an_administrator_ends_a_fence(cluster: Cluster) -> None:
    """By removing the annotation."""
    await lost(cluster, pod("web", nodeName="n1"))
    await cluster.delete(kinds.POD, "web", grace=0)
    await cluster.change(kinds.NODE, "n1", lambda node: node.metadata.annotations.pop(ANNOTATION_FENCED))
    assert not fenced(cluster)


@pytest.mark.parametrize("removed", ["before the node", "with the node", "nothing"])
async def test_a_fence_outlasts_the_node_object(cluster: Cluster, removed: str) -> None:
    """A silent node that is deleted, and comes back, may still run the pods that it had; one without pods does not."""
    await lost(cluster, *([pod("web", nodeName="n1")] if removed != "nothing" else []))
    if removed == "before the node":
        await cluster.delete(kinds.POD, "web", grace=0)
    await cluster.delete(kinds.NODE, "n1")
    await join(cluster, "n1")
    if removed == "nothing":
        assert not fenced(cluster)
        return
    assert fenced(cluster)
    await applied(cluster, cluster.store.revision)
    assert not fenced(cluster)


async def test_a_node_that_cannot_be_written_delays_no_other(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    await lost(cluster, pod("web", nodeName="n1"))
    cluster.router.fences._record("broken")
    write, tried = cluster.store.update, []

    async def update(fn: Any) -> Any:
        if getattr(fn, "keywords", {}).get("name") == "broken":
            tried.append(fn)
            raise RuntimeError("cannot be written")
        return await write(fn)

    monkeypatch.setattr(cluster.store, "update", update)
    await cluster.delete(kinds.POD, "web", grace=0)
    assert fenced(cluster)
    assert tried


async def test_the_agent_is_asked_to_confirm_though_nothing_else_is_to_send(cluster: Cluster) -> None:
    """A session that outlives the silence gets a revision at or after that of the fence."""
    await lost(cluster, pod("web", nodeName="n1"))
    assignment = cluster.router.open("n1", lambda: None)
    while assignment.next() is not None:
        pass
    before = cluster.store.revision
    await cluster.delete(kinds.POD, "web", grace=0)
    revisions = []
    while (message := assignment.next()) is not None:
        revisions.append(nodes_pb2.Assignment.FromString(message).revision)
    assert revisions[-1] > before
    await applied(cluster, revisions[-1])
    assert not fenced(cluster)


async def test_a_removal_that_the_watch_has_missed_fences_the_node(cluster: Cluster) -> None:
    """A watch that was too far behind begins again with what there is; a pod that had ended is not missed."""
    await lost(cluster, pod("web", nodeName="n1"), pod("done", nodeName="n1", restartPolicy="Never"))
    ended = [{"name": "main", "state": {"terminated": {"exitCode": 0}}}]
    await cluster.report("n1", cluster.get(kinds.POD, "done"), phase="Succeeded", containerStatuses=ended)
    rows = {row.key.rpartition("/")[2]: row for row in cluster.store.rows(kinds.POD, "")}
    fences = Fences()
    fences.take_node("n1", cluster.get(kinds.NODE, "n1"), 1, lambda name: rows.values())
    del rows["done"]
    assert fences.take_all(lambda name: rows.values(), 2) == []
    del rows["web"]
    assert fences.take_all(lambda name: rows.values(), 3) == ["n1"]
    assert fences.take_all(lambda name: rows.values(), 4) == []
    assert not fences.applied("n1", 2)
    assert fences.applied("n1", 3)
