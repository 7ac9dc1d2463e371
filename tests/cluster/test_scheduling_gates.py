"""Scheduling gates: a pod with some waits, as kube-scheduler has it, until the last is removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlplane import conditions, metrics
from pinnace import kinds, podstatus
from pinnace.api.v1 import cluster_pb2
from pinnace.errors import Invalid
from tests.cluster.test_permissions import ADMIN, Door, calling
from tests.support.cluster import Cluster
from tests.support.objects import container, make, pod

GATES = [{"name": "example.com/quota"}, {"name": "example.com/place"}]


def scheduled(cluster: Cluster, name: str = "web") -> tuple[str, str, str]:
    """The node, and reason and message of the condition."""
    found = cluster.get(kinds.POD, name)
    assert found is not None
    condition = conditions.find(found.status, "PodScheduled")
    assert condition is not None
    return found.spec.nodeName, condition.reason, condition.message


async def remove(cluster: Cluster, gate: str, name: str = "web") -> None:
    def change(item: Any) -> None:
        kept = [entry for entry in item.spec.schedulingGates if entry.name != gate]
        del item.spec.schedulingGates[:]
        item.spec.schedulingGates.extend(kept)

    await cluster.change(kinds.POD, name, change)


@pytest.mark.shows("spec.schedulingGates[].name")
async def test_a_gated_pod_waits_for_the_last_gate(cluster: Cluster) -> None:
    """Its condition and STATUS say so, without an event; each change of the cluster leaves it alone."""
    await cluster.join("n1")
    await cluster.create(pod(schedulingGates=GATES))
    waits = ("", "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")
    await cluster.join("n2")
    assert scheduled(cluster) == waits
    assert podstatus.summarize(cluster.get(kinds.POD, "web")).status == "SchedulingGated"
    assert metrics.pending_pods.labels("gated")._value.get() == 1
    await remove(cluster, "example.com/quota")
    assert scheduled(cluster) == waits
    assert cluster.events("FailedScheduling") == []
    await remove(cluster, "example.com/place")
    assert scheduled(cluster)[:2] == ("n1", "")
    assert metrics.pending_pods.labels("gated")._value.get() == 0
    assert podstatus.summarize(cluster.get(kinds.POD, "web")).status == "Pending"


async def test_a_gated_pod_is_placed_by_what_it_was_narrowed_to(cluster: Cluster) -> None:
    """As queueing systems do: the node selector first, then the gate."""
    for name in ("n1", "n2"):
        await cluster.join(name)
        await cluster.change(kinds.NODE, name, lambda node: node.metadata.labels.update(place=node.metadata.name))
    await cluster.create(pod(schedulingGates=GATES[:1]))
    await cluster.change(kinds.POD, "web", lambda item: item.spec.nodeSelector.update(place="n2"))
    assert scheduled(cluster)[0] == ""
    await remove(cluster, "example.com/quota")
    assert scheduled(cluster)[0] == "n2"


async def test_a_gated_pod_preempts_nobody_and_takes_no_room(cluster: Cluster) -> None:
    """It is no candidate yet."""
    await cluster.join("n1", cpu="1")
    await cluster.create(make(kinds.PRIORITY_CLASS, "high", value=100))
    needs = container(requests={"cpu": "1"})
    await cluster.create(pod("gated", needs, schedulingGates=GATES[:1], priorityClassName="high"))
    await cluster.create(pod("web", needs))
    assert scheduled(cluster)[0] == "n1"
    await cluster.advance(310, beating=("n1",))
    assert (cluster.events("Preempted"), scheduled(cluster, "gated")[0]) == ([], "")
    await remove(cluster, "example.com/quota", "gated")
    assert len(cluster.events("Preempted")) == 1


async def test_gates_are_not_added_and_not_bound(cluster: Cluster) -> None:
    """Nor is a gated pod created on a node."""
    with pytest.raises(Invalid, match=r"spec\.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"):
        await cluster.create(pod(schedulingGates=GATES, nodeName="n1"))
    await cluster.create(pod())
    with pytest.raises(Invalid, match="only deletion is allowed, but found new scheduling gate 'late'"):
        await cluster.change(kinds.POD, "web", lambda item: item.spec.schedulingGates.add(name="late"))


async def test_a_deleted_gated_pod_is_gone_at_once(cluster: Cluster) -> None:
    """And is counted no more; so is one whose gates are another scheduler's business."""
    await cluster.create(pod(schedulingGates=GATES))
    await cluster.create(pod("other", schedulingGates=GATES, schedulerName="mine"))
    assert metrics.pending_pods.labels("gated")._value.get() == 1
    assert await cluster.delete(kinds.POD, "web")
    await cluster.join("n1")
    assert metrics.pending_pods.labels("gated")._value.get() == 0


async def test_why_names_the_gates(cluster: Cluster, tmp_path: Path) -> None:
    """`kctl why` has no nodes to explain."""
    await cluster.create(pod(schedulingGates=GATES))
    door = Door(cluster, tmp_path)
    with calling(ADMIN):
        answer = await door.services["Cluster"].Why(cluster_pb2.WhyRequest(namespace="default", pod="web"), None)
    assert answer.message.startswith("waiting for scheduling gates: [example.com/quota example.com/place]")
    assert (answer.node, len(answer.verdicts)) == ("", 0)


async def test_replicas_are_gated_by_their_template(cluster: Cluster) -> None:
    """They count as replicas that are not ready."""
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container()], "schedulingGates": GATES[:1]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    await cluster.join("n1")
    await cluster.create(make(kinds.REPLICA_SET, "web", spec=spec))
    names = cluster.names(kinds.POD, namespace="default")
    assert [scheduled(cluster, name)[1] for name in names] == ["SchedulingGated"] * 2
    for name in names:
        await remove(cluster, "example.com/quota", name)
    assert [scheduled(cluster, name)[0] for name in names] == ["n1", "n1"]
