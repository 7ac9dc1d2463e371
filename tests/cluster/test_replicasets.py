"""ReplicaSets keep their number of pods: creating, adopting, releasing and choosing which to delete."""

from __future__ import annotations

import pytest

from controlplane import conditions
from controlplane.controllers import podcontrol
from pinnace import kinds
from tests.support.api import Api, pod_manifest
from tests.support.cluster import Cluster
from tests.support.workloads import LABELS, Agents, SettledApi, replica_set


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return SettledApi(cluster)


@pytest.fixture
async def agents(cluster: Cluster) -> Agents:
    made = Agents(cluster, "n1", "n2")
    await made.join()
    return made


def names(agents: Agents) -> set[str]:
    return {pod.metadata.name for pod in agents.pods()}


async def test_a_pod_that_goes_is_replaced(api: Api, cluster: Cluster, agents: Agents) -> None:
    """As soon as it is deleted, not when it has ended; and one that has ended."""
    await api.create(kinds.REPLICA_SET, replica_set(replicas=3))
    await agents.settle()
    first, second, _ = agents.pods()
    await cluster.delete(kinds.POD, first.metadata.name)
    assert len(agents.pods()) == 4
    assert cluster.get(kinds.REPLICA_SET, "web").status.terminatingReplicas == 1
    await cluster.report(second.spec.nodeName, second, phase="Failed")
    await agents.settle()
    running = [pod for pod in agents.pods() if pod.status.phase == "Running"]
    assert len(running) == 3
    assert {first.metadata.name, second.metadata.name}.isdisjoint(pod.metadata.name for pod in running)
    status = cluster.get(kinds.REPLICA_SET, "web").status
    assert (status.replicas, status.readyReplicas, status.availableReplicas, status.fullyLabeledReplicas) == (3, 3, 3, 3)


async def test_pods_without_all_labels_of_the_template_are_counted_apart(api: Api, cluster: Cluster, agents: Agents) -> None:
    """The template has another label since they were made. Counting gives them none."""
    await api.create(kinds.REPLICA_SET, replica_set(replicas=2))
    await agents.settle()
    labels = {**LABELS, "track": "stable"}
    await api.patch(kinds.REPLICA_SET, "web", "MERGE", {"spec": {"replicas": 3, "template": {"metadata": {"labels": labels}}}})
    await agents.settle()
    status = cluster.get(kinds.REPLICA_SET, "web").status
    assert (status.replicas, status.fullyLabeledReplicas) == (3, 1)
    assert sorted(len(pod.metadata.labels) for pod in agents.pods()) == [len(LABELS), len(LABELS), len(labels)]


async def test_pods_are_adopted_and_released_by_their_labels(api: Api, cluster: Cluster, agents: Agents) -> None:
    """One without a controller counts; one that changes its labels stays, without an owner, and is replaced."""
    lone = pod_manifest("lone")
    lone["metadata"]["labels"] = LABELS
    await api.create(kinds.POD, lone)
    await api.create(kinds.REPLICA_SET, replica_set(replicas=2))
    await agents.settle()
    assert "lone" in names(agents)
    assert len(agents.pods()) == 2
    reference = podcontrol.controller_of(cluster.get(kinds.POD, "lone"))
    assert reference is not None
    assert (reference.kind, reference.name) == ("ReplicaSet", "web")
    await api.patch(kinds.POD, "lone", "MERGE", {"metadata": {"labels": {"app": "debug"}}})
    await agents.settle()
    assert podcontrol.controller_of(cluster.get(kinds.POD, "lone")) is None
    assert len(agents.pods()) == 3


async def test_two_sets_of_one_selector_do_not_share_pods(api: Api, cluster: Cluster, agents: Agents) -> None:
    """Each has its own."""
    await api.create(kinds.REPLICA_SET, replica_set("a", 2))
    await api.create(kinds.REPLICA_SET, replica_set("b", 3))
    await agents.settle()
    owners = [reference.name for pod in agents.pods() if (reference := podcontrol.controller_of(pod)) is not None]
    assert sorted(owners) == ["a", "a", "b", "b", "b"]


async def test_cheap_and_unready_pods_go_first(api: Api, cluster: Cluster, agents: Agents) -> None:
    """Those that are not ready, then those with the lowest deletion cost."""
    await api.create(kinds.REPLICA_SET, replica_set(replicas=4))
    pods = agents.pods()
    for pod in pods[:3]:
        await agents.start(pod)
    await agents.start(pods[3], ready=False)
    cost = {"metadata": {"annotations": {podcontrol.DELETION_COST: "-5"}}}
    await api.patch(kinds.POD, pods[1].metadata.name, "MERGE", cost)
    await api.patch(kinds.REPLICA_SET, "web", "MERGE", {"spec": {"replicas": 3}})
    await agents.settle()
    assert names(agents) == {pod.metadata.name for pod in pods[:3]}
    await api.patch(kinds.REPLICA_SET, "web", "MERGE", {"spec": {"replicas": 2}})
    await agents.settle()
    assert names(agents) == {pods[0].metadata.name, pods[2].metadata.name}


async def test_many_pods_come_in_batches(api: Api, cluster: Cluster, agents: Agents) -> None:
    """More than one transaction creates, and deletes."""
    await api.create(kinds.REPLICA_SET, replica_set(replicas=130))
    assert len(agents.pods()) == 130
    await api.patch(kinds.REPLICA_SET, "web", "MERGE", {"spec": {"replicas": 10}})
    left = [pod for pod in agents.pods() if not pod.metadata.deletionTimestamp.seconds]
    assert len(left) == 10


async def test_a_rejected_pod_is_tried_again_ever_more_seldom(api: Api, cluster: Cluster, agents: Agents) -> None:
    """And one event counts the tries."""
    await api.create(kinds.REPLICA_SET, replica_set(template={
        "metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "a", "image": "b"}], "serviceAccountName": "later"},
    }))  # fmt: skip
    status = cluster.get(kinds.REPLICA_SET, "web").status
    found = conditions.find(status, "ReplicaFailure")
    assert found is not None
    assert (found.status, found.reason, status.replicas) == ("True", "FailedCreate", 0)
    assert 'serviceaccount "later" not found' in found.message
    await cluster.advance(600, beating=("n1", "n2"))
    [event] = cluster.events("FailedCreate")
    assert 5 <= event.count <= 15
    await api.create(kinds.SERVICE_ACCOUNT, {"metadata": {"name": "later", "namespace": "default"}})
    await cluster.advance(600, beating=("n1", "n2"))
    await agents.settle()
    assert len(agents.pods()) == 3


@pytest.mark.parametrize(
    ("text", "cost"),
    [("7", 7), ("-7", -7), ("+7", 0), ("07", 0), ("x", 0), ("2147483648", 0), ("-2147483648", -(1 << 31)), ("", 0)],
)  # fmt: skip
def test_a_deletion_cost_is_an_int32(text: str, cost: int) -> None:
    """What is none counts as 0, as in Kubernetes."""
    pod = kinds.POD.cls()
    pod.metadata.annotations[podcontrol.DELETION_COST] = text
    assert podcontrol.deletion_cost(pod) == cost


async def test_a_replication_controller_does_the_same(api: Api, cluster: Cluster, agents: Agents) -> None:
    """Its selector is the template's labels where it has none; it shares no pods with a ReplicaSet of the same labels."""
    item = {**replica_set("old", 2), "apiVersion": "v1", "kind": "ReplicationController"}
    del item["spec"]["selector"]
    await api.create(kinds.REPLICATION_CONTROLLER, item)
    await api.create(kinds.REPLICA_SET, replica_set("new", 1))
    await agents.settle()
    stored = cluster.get(kinds.REPLICATION_CONTROLLER, "old")
    assert dict(stored.spec.selector) == LABELS
    assert (stored.status.replicas, stored.status.availableReplicas) == (2, 2)
    await api.patch(kinds.REPLICATION_CONTROLLER, "old", "MERGE", {"spec": {"replicas": 1}}, subresource="scale")
    await agents.settle()
    assert sorted(reference.name for pod in agents.pods() for reference in pod.metadata.ownerReferences) == ["new", "old"]
