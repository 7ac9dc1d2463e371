"""Nodes that fall silent and come back, and what becomes of their pods."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane import conditions
from controlplane.controllers.podgc import QUARANTINE
from controlplane.dispatcher import reports
from pinnace import kinds
from pinnace.api.v1 import nodes_pb2
from pinnace.errors import Invalid
from pinnace.wellknown import TAINT_NOT_READY as NOT_READY
from pinnace.wellknown import TAINT_UNREACHABLE as UNREACHABLE
from tests.support import objects
from tests.support.cluster import GRACE, Cluster
from tests.support.objects import pod

FORGIVING = {"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}


def ready(cluster: Cluster, name: str = "n1") -> str:
    return str(conditions.find(cluster.get(kinds.NODE, name).status, "Ready").status)


def taints(cluster: Cluster, name: str = "n1") -> set[tuple[str, str]]:
    return {(taint.key, taint.effect) for taint in cluster.get(kinds.NODE, name).spec.taints}


def deleting(cluster: Cluster, name: str = "web") -> bool:
    return bool(cluster.get(kinds.POD, name).metadata.deletionTimestamp.seconds)


async def run(cluster: Cluster, subject: Any, node: str = "n1") -> Any:
    """A pod that is bound and runs."""
    made = await cluster.create(subject)
    await cluster.report(node, made)
    return made


async def other(cluster: Cluster, name: str = "other", **node: Any) -> None:
    """A node that stays alive, so that the failure of another is not taken for one of the observer. It is cordoned."""
    await cluster.join(name, **node)
    await cluster.change(kinds.NODE, name, lambda found: setattr(found.spec, "unschedulable", True))
    cluster.alive.add(name)


async def test_a_beating_node_stays_ready(cluster: Cluster) -> None:
    """Also long after the grace."""
    await cluster.join("n1")
    await cluster.advance(10 * GRACE, beating=("n1",))
    assert (ready(cluster), taints(cluster)) == ("True", set())


async def test_a_silent_node_is_not_ready_after_the_grace_and_not_before(cluster: Cluster) -> None:
    """Ready becomes Unknown, with the taints and an event; its pods are no longer ready."""
    await other(cluster)
    await cluster.join("n1")
    await run(cluster, pod())
    await cluster.advance(GRACE - 1)
    assert (ready(cluster), taints(cluster)) == ("True", set())
    await cluster.advance(2)
    assert ready(cluster) == "Unknown"
    assert taints(cluster) == {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}
    about = {event.involvedObject.kind: event for event in cluster.events("NodeNotReady")}
    assert len(cluster.events("NodeNotReady")) == len(about) == 2
    assert about["Node"].message == "Node n1 status is now: NodeNotReady"
    assert (about["Pod"].type, about["Pod"].message) == ("Warning", "Node is not ready")
    found = cluster.get(kinds.POD, "web")
    assert (found.status.phase, conditions.find(found.status, "Ready").status) == ("Running", "False")


async def test_a_heartbeat_makes_a_lost_node_ready_again(cluster: Cluster) -> None:
    """The taints go, pods stay and new ones come."""
    await cluster.join("n1")
    await run(cluster, pod())
    await cluster.advance(3 * GRACE)
    await cluster.beat("n1")
    await cluster.advance(400, beating=("n1",))
    assert (ready(cluster), taints(cluster)) == ("True", set())
    assert not deleting(cluster)
    await cluster.create(pod("next"))
    assert cluster.get(kinds.POD, "next").spec.nodeName == "n1"


async def test_a_node_can_be_lost_twice(cluster: Cluster) -> None:
    """The watch over it does not end with the first time."""
    await cluster.join("n1")
    await cluster.advance(GRACE + 1)
    await cluster.beat("n1")
    assert ready(cluster) == "True"
    await cluster.advance(GRACE + 1)
    assert ready(cluster) == "Unknown"


async def test_nothing_is_scheduled_to_a_lost_node(cluster: Cluster) -> None:
    """Its taint refuses, in Kubernetes' words."""
    await cluster.join("n1")
    await cluster.advance(GRACE + 1)
    await cluster.create(pod())
    condition = conditions.find(cluster.get(kinds.POD, "web").status, "PodScheduled")
    assert condition.message == f"0/1 nodes are available: 1 node(s) had untolerated taint {{{UNREACHABLE}: }}."


async def unready(cluster: Cluster, name: str = "n1") -> None:
    """The agent reports that its node does not take pods, and stays alive."""
    request = nodes_pb2.ReportStatusRequest()
    request.node.conditions.add(type="Ready", status="False", reason="KubeletNotReady")
    await cluster._done(lambda tx: reports.report(tx, name, request, now=cluster.clock.now()))


async def test_a_node_that_reports_itself_unready_is_tainted_as_not_ready(cluster: Cluster) -> None:
    """With both effects, as a lost node with another name; its pods go after 300 seconds by default."""
    await other(cluster)
    await cluster.join("n1")
    await run(cluster, pod())
    cluster.alive.add("n1")
    await unready(cluster)
    assert taints(cluster) == {(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")}
    await cluster.advance(295)
    assert not deleting(cluster)
    await cluster.advance(10)
    assert deleting(cluster)


async def test_the_taint_follows_readiness(cluster: Cluster) -> None:
    """Unready, then silent, then unready and heard again: one taint at a time, and no wait for another eviction."""
    await other(cluster)
    await cluster.join("n1")
    await unready(cluster)
    await cluster.advance(GRACE + 1)
    assert (ready(cluster), taints(cluster)) == ("Unknown", {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")})
    await cluster._done(lambda tx: reports.renew(tx, ["n1"], now=cluster.clock.now(), seconds=GRACE))
    await unready(cluster)
    assert (ready(cluster), taints(cluster)) == ("False", {(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")})
    await cluster.join("n1")
    assert (ready(cluster), taints(cluster)) == ("True", set())


async def test_an_unready_node_alone_evicts_nothing(cluster: Cluster) -> None:
    """No other node is ready either: it gets no pods, and keeps those that it has."""
    await cluster.join("n1")
    cluster.alive.add("n1")
    await unready(cluster)
    await cluster.advance(1000)
    assert taints(cluster) == {(NOT_READY, "NoSchedule")}


async def test_users_taints_survive_loss_and_return(cluster: Cluster) -> None:
    """Only the controller's own are taken away."""
    await cluster.join("n1")
    await cluster.change(kinds.NODE, "n1", lambda found: found.spec.taints.add(key="mine", effect="NoSchedule"))
    await cluster.advance(GRACE + 1)
    await cluster.beat("n1")
    assert taints(cluster) == {("mine", "NoSchedule")}


@pytest.mark.shows("spec.tolerations[].tolerationSeconds")
async def test_pods_are_evicted_after_their_toleration_seconds(cluster: Cluster) -> None:
    """300 by default, or what the pod says; with the pod's own grace."""
    await other(cluster)
    await cluster.join("n1")
    await run(cluster, pod())
    await run(cluster, pod("short", tolerations=[FORGIVING]))
    await cluster.advance(GRACE + 55)
    assert not deleting(cluster, "short")
    await cluster.advance(10)
    assert deleting(cluster, "short")
    await cluster.advance(220)
    assert not deleting(cluster)
    await cluster.advance(20)
    assert deleting(cluster)
    found = cluster.get(kinds.POD, "web")
    assert found.metadata.deletionGracePeriodSeconds == 30
    assert conditions.find(found.status, "DisruptionTarget").reason == "DeletionByTaintManager"
    assert len(cluster.events("TaintManagerEviction")) == 2


async def test_a_pod_that_tolerates_for_ever_stays(cluster: Cluster) -> None:
    """No tolerationSeconds means no end."""
    await cluster.join("n1")
    await run(cluster, pod("web", tolerations=[{"key": UNREACHABLE, "operator": "Exists"}]))
    await cluster.advance(2000)
    assert not deleting(cluster)


async def taint(cluster: Cluster, name: str = "n1") -> None:
    await cluster.change(kinds.NODE, name, lambda found: found.spec.taints.add(key="k", effect="NoExecute"))


@pytest.mark.parametrize("tolerations", [[], [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]])
async def test_a_no_execute_taint_evicts_what_does_not_tolerate_it(cluster: Cluster, tolerations: list[Any]) -> None:
    """At once; a toleration of another effect does not help."""
    await cluster.join("n1")
    await run(cluster, pod("web", tolerations=tolerations))
    await taint(cluster)
    assert deleting(cluster)


@pytest.mark.parametrize(("operator", "value", "stays"), [("Lt", "10", True), ("Lt", "5", False), ("Gt", "4", True)])
async def test_a_toleration_compares_the_taints_number(cluster: Cluster, operator: str, value: str, stays: bool) -> None:
    """Gt and Lt decide both where a pod comes to and whether it is evicted."""
    await cluster.join("n1")
    toleration = {"key": "failures", "operator": operator, "value": value}
    await run(cluster, pod("web", tolerations=[toleration]))
    mark = {"key": "failures", "value": "5", "effect": "NoExecute"}
    await cluster.change(kinds.NODE, "n1", lambda found: found.spec.taints.add(**mark))
    assert deleting(cluster) is not stays
    await cluster.create(pod("later", tolerations=[toleration]))
    assert bool(cluster.get(kinds.POD, "later").spec.nodeName) is stays


async def test_a_users_taint_gives_toleration_seconds_from_when_it_was_set(cluster: Cluster) -> None:
    """People write no timeAdded."""
    await cluster.join("n1")
    await run(cluster, pod("web", tolerations=[{**FORGIVING, "key": "k"}]))
    await cluster.advance(500, beating=("n1",))
    await taint(cluster)
    await cluster.advance(55, beating=("n1",))
    assert not deleting(cluster)
    await cluster.advance(10, beating=("n1",))
    assert deleting(cluster)


async def test_a_pod_bound_to_a_tainted_node_has_its_seconds_from_then(cluster: Cluster) -> None:
    """It may come, stays as long as it tolerates, and then goes."""
    await cluster.join("n1")
    await taint(cluster)
    await cluster.advance(100, beating=("n1",))
    await run(cluster, pod("web", tolerations=[{**FORGIVING, "key": "k"}]))
    await cluster.advance(55, beating=("n1",))
    assert not deleting(cluster)
    await cluster.advance(10, beating=("n1",))
    assert deleting(cluster)


async def test_pods_of_a_deleted_node_are_removed_after_the_quarantine(cluster: Cluster) -> None:
    """Nobody is left to say that they stopped."""
    await cluster.join("n1")
    await run(cluster, pod())
    await cluster.delete(kinds.NODE, "n1")
    await cluster.advance(QUARANTINE - 5)
    assert cluster.get(kinds.POD, "web") is not None
    await cluster.advance(10)
    assert cluster.get(kinds.POD, "web") is None


async def test_a_node_that_comes_back_in_time_keeps_its_pods(cluster: Cluster) -> None:
    """It was deleted by mistake."""
    await cluster.join("n1")
    await run(cluster, pod())
    await cluster.delete(kinds.NODE, "n1")
    await cluster.advance(QUARANTINE / 2)
    await cluster.join("n1")
    await cluster.advance(3 * QUARANTINE, beating=("n1",))
    assert cluster.get(kinds.POD, "web") is not None


async def test_a_pod_that_names_a_missing_node_has_the_whole_quarantine(cluster: Cluster) -> None:
    """However long ago the last pod was there that named it."""
    for name in ("first", "second"):
        await cluster.create(pod(name, nodeName="n9"))
        await cluster.advance(QUARANTINE - 5)
        assert cluster.get(kinds.POD, name) is not None
        await cluster.advance(10 * QUARANTINE)
        assert cluster.get(kinds.POD, name) is None


async def test_a_deleted_node_leaves_no_lease(cluster: Cluster) -> None:
    """Nor does its name hold anything for the next node of that name."""
    await cluster.join("n1")
    assert cluster.get(kinds.LEASE, "n1", namespace="kube-node-lease") is not None
    await cluster.delete(kinds.NODE, "n1")
    assert cluster.get(kinds.LEASE, "n1", namespace="kube-node-lease") is None


async def test_no_two_nodes_have_a_pod_cidr_in_common(cluster: Cluster) -> None:
    """Other nodes would program one of both. One that is not changed is not compared, whatever is stored."""
    await cluster.join("n1")
    both = ["10.244.8.0/24", "fd00:8::/64"]
    await cluster.create(objects.node("n2", podCIDR=both[0], podCIDRs=both))
    for taken, holder, text in [
        (["10.244.0.0/24"], "n1", "10.244.0.0/24"), (["10.244.0.128/25"], "n1", "10.244.0.0/24"),
        (["10.244.8.7/22"], "n2", "10.244.8.0/24"), (["10.244.9.0/24", "fd00:8::/80"], "n2", "fd00:8::/64"),
    ]:  # fmt: skip
        error = f'overlaps with the pod CIDR {text} of node "{holder}"'
        with pytest.raises(Invalid, match=error) as caught:
            await cluster.create(objects.node("n3", podCIDR=taken[0], podCIDRs=taken))
        [cause] = caught.value.causes
        assert (cause.field, error in cause.message) == (f"spec.podCIDRs[{len(taken) - 1}]", True)
    with pytest.raises(Invalid, match=r"spec\.podCIDR: Invalid value"):
        await cluster.create(objects.node("n3", podCIDR="10.244.0.0/24"))
    await cluster.create(objects.node("n3"))
    with pytest.raises(Invalid, match="overlaps"):
        await cluster.change(kinds.NODE, "n3", lambda item: setattr(item.spec, "podCIDR", "10.244.8.0/24"))
    stored = cluster.get(kinds.NODE, "n3")
    stored.spec.podCIDR = "10.244.8.0/24"
    await cluster.store.update(lambda tx: tx.put(kinds.NODE, stored))
    await cluster.change(kinds.NODE, "n3", lambda item: setattr(item.spec, "unschedulable", True))
    assert cluster.get(kinds.NODE, "n3").spec.unschedulable
