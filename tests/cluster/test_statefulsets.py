"""StatefulSets: names that stay, one step at a time, and never two pods of one name, on virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import kinds
from pinnace.errors import Invalid
from pinnace.wellknown import TAINT_OUT_OF_SERVICE
from tests.support.api import Api
from tests.support.cluster import Cluster
from tests.support.workloads import LABELS, Agents, SettledApi, stateful_set, template


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return SettledApi(cluster)


@pytest.fixture
async def agents(cluster: Cluster) -> Agents:
    made = Agents(cluster, "n1", "n2")
    await made.join()
    return made


def names(agents: Agents) -> list[str]:
    return sorted(pod.metadata.name for pod in agents.pods())


def images(agents: Agents) -> dict[str, str]:
    return {pod.metadata.name: pod.spec.containers[0].image for pod in agents.pods()}


async def change(api: Api, **spec: Any) -> None:
    await api.patch(kinds.STATEFUL_SET, "web", "MERGE", {"spec": spec})


async def test_pods_come_in_order_each_after_the_one_before_is_ready(api: Api, cluster: Cluster, agents: Agents) -> None:
    """With their names as hostnames, the Service's name as subdomain, and labels that tell them apart."""
    await api.create(kinds.STATEFUL_SET, stateful_set(replicas=3))
    seen: list[list[str]] = []
    await agents.settle(watch=lambda: seen.append(names(agents)))
    assert seen == [["web-0"], ["web-0", "web-1"], ["web-0", "web-1", "web-2"], ["web-0", "web-1", "web-2"]]
    first = cluster.get(kinds.POD, "web-0")
    assert (first.spec.hostname, first.spec.subdomain) == ("web-0", "web")
    assert first.metadata.labels["statefulset.kubernetes.io/pod-name"] == "web-0"
    assert first.metadata.labels["apps.kubernetes.io/pod-index"] == "0"
    status = cluster.get(kinds.STATEFUL_SET, "web").status
    assert (status.replicas, status.readyReplicas, status.availableReplicas, status.updatedReplicas) == (3, 3, 3, 3)
    assert status.currentRevision == status.updateRevision == first.metadata.labels["controller-revision-hash"]


async def test_fewer_pods_go_from_the_highest_down(api: Api, cluster: Cluster, agents: Agents) -> None:
    """One after another."""
    await api.create(kinds.STATEFUL_SET, stateful_set(replicas=4))
    await agents.settle()
    await change(api, replicas=1)
    seen: list[int] = []
    await agents.settle(watch=lambda: seen.append(len(agents.pods())))
    assert seen == [4, 3, 2, 1]
    assert names(agents) == ["web-0"]


async def test_parallel_waits_for_no_pod(api: Api, cluster: Cluster, agents: Agents) -> None:
    """All are created, and all surplus ones deleted, at once."""
    await api.create(kinds.STATEFUL_SET, stateful_set(replicas=5, podManagementPolicy="Parallel"))
    assert names(agents) == [f"web-{number}" for number in range(5)]
    await agents.settle()
    await change(api, replicas=2)
    assert sum(bool(pod.metadata.deletionTimestamp.seconds) for pod in agents.pods()) == 3


async def test_a_name_is_used_again_only_when_its_pod_is_gone(api: Api, cluster: Cluster, agents: Agents) -> None:
    """Also of a pod on a node that is lost: it may still run there, until an administrator deletes it by force."""
    await api.create(kinds.STATEFUL_SET, stateful_set(replicas=2))
    await agents.settle()
    lost = cluster.get(kinds.POD, "web-1")
    cluster.alive.discard(lost.spec.nodeName)
    await cluster.advance(400)
    found = cluster.get(kinds.POD, "web-1")
    assert found.metadata.uid == lost.metadata.uid
    assert found.metadata.deletionTimestamp.seconds
    await cluster.delete(kinds.POD, "web-1", grace=0)
    await agents.settle()
    found = cluster.get(kinds.POD, "web-1")
    assert found.metadata.uid != lost.metadata.uid
    assert found.spec.nodeName != lost.spec.nodeName


async def test_a_pod_of_a_node_out_of_service_is_replaced(api: Api, cluster: Cluster, agents: Agents) -> None:
    """The taint fences the node: its pods are evicted and removed without the agent. A ready node with it only stops them."""
    await api.create(kinds.STATEFUL_SET, stateful_set(replicas=2))
    await agents.settle()
    lost = cluster.get(kinds.POD, "web-1")
    cluster.alive.discard(lost.spec.nodeName)
    await cluster.advance(600)
    waiting = cluster.get(kinds.POD, "web-1")
    assert (waiting.metadata.uid, waiting.metadata.deletionTimestamp.seconds > 0) == (lost.metadata.uid, True)
    await cluster.change(
        kinds.NODE, lost.spec.nodeName, lambda node: node.spec.taints.add(key=TAINT_OUT_OF_SERVICE, effect="NoExecute")
    )
    await agents.settle()
    found = cluster.get(kinds.POD, "web-1")
    assert found.metadata.uid != lost.metadata.uid
    assert found.spec.nodeName not in ("", lost.spec.nodeName)


async def test_a_rolling_update_goes_from_the_highest_down(api: Api, cluster: Cluster, agents: Agents) -> None:
    """One pod is missing at a time; the partition keeps lower ones, also those that are made again."""
    await api.create(kinds.STATEFUL_SET, stateful_set(replicas=3))
    await agents.settle()
    await change(api, template=template("web:2"), updateStrategy={"rollingUpdate": {"partition": 2}})
    seen: list[int] = []
    await agents.settle(watch=lambda: seen.append(sum(pod.status.phase == "Running" for pod in agents.pods())))
    assert min(seen) == 2
    assert images(agents) == {"web-0": "web:1", "web-1": "web:1", "web-2": "web:2"}
    status = cluster.get(kinds.STATEFUL_SET, "web").status
    assert (status.currentReplicas, status.updatedReplicas) == (2, 1)
    await cluster.delete(kinds.POD, "web-0")
    await agents.settle()
    assert images(agents)["web-0"] == "web:1"
    await change(api, updateStrategy={"rollingUpdate": {"partition": 0}})
    order: list[str] = []
    await agents.settle(watch=lambda: order.extend(n for n, i in images(agents).items() if i == "web:2" and n not in order))
    assert order == ["web-2", "web-1", "web-0"]
    status = cluster.get(kinds.STATEFUL_SET, "web").status
    assert status.currentRevision == status.updateRevision
    assert (status.currentReplicas, status.updatedReplicas) == (3, 3)


@pytest.mark.parametrize(("share", "least"), [("40%", 3), ("59%", 3), ("10%", 4)])
async def test_several_may_be_unavailable_where_the_strategy_says_so(
    api: Api, cluster: Cluster, agents: Agents, share: str, least: int
) -> None:
    """A share of five is rounded down, and one may always be."""
    strategy = {"rollingUpdate": {"maxUnavailable": share}}
    await api.create(kinds.STATEFUL_SET, stateful_set(replicas=5, updateStrategy=strategy, podManagementPolicy="Parallel"))
    await agents.settle()
    await change(api, template=template("web:2"))
    seen: list[int] = []

    def watch() -> None:
        seen.append(sum(pod.status.phase == "Running" and not pod.metadata.deletionTimestamp.seconds for pod in agents.pods()))

    await agents.settle(watch=watch)
    assert min(seen) == least
    assert set(images(agents).values()) == {"web:2"}


async def test_pods_that_are_ready_for_a_short_time_are_not_taken_at_once(api: Api, cluster: Cluster, agents: Agents) -> None:
    """They serve, although none is available before minReadySeconds."""
    await api.create(kinds.STATEFUL_SET, stateful_set(podManagementPolicy="Parallel", minReadySeconds=10))
    await agents.settle()
    await change(api, template=template("web:2"))
    assert [pod.metadata.name for pod in agents.pods() if pod.metadata.deletionTimestamp.seconds] == []
    await cluster.advance(11)
    assert [pod.metadata.name for pod in agents.pods() if pod.metadata.deletionTimestamp.seconds] == ["web-2"]
    for _ in range(3):
        await agents.settle()
        await cluster.advance(11)
    assert set(images(agents).values()) == {"web:2"}


async def test_a_pod_that_is_not_ready_stops_the_rollout(api: Api, cluster: Cluster, agents: Agents) -> None:
    """The others keep the template that works; a better one is not tried until the broken pod is deleted, as in Kubernetes."""
    await api.create(kinds.STATEFUL_SET, stateful_set(replicas=3))
    await agents.settle()
    await change(api, template=template("broken"))
    await agents.settle(fails=lambda pod: pod.spec.containers[0].image == "broken")
    assert images(agents) == {"web-0": "web:1", "web-1": "web:1", "web-2": "broken"}


async def test_pods_that_end_are_made_again(api: Api, cluster: Cluster, agents: Agents) -> None:
    """Under the same name, with the events of this controller."""
    await api.create(kinds.STATEFUL_SET, stateful_set(replicas=2))
    await agents.settle()
    failed = cluster.get(kinds.POD, "web-0")
    await cluster.report(failed.spec.nodeName, failed, phase="Failed")
    await agents.settle()
    assert cluster.get(kinds.POD, "web-0").metadata.uid != failed.metadata.uid
    assert cluster.get(kinds.POD, "web-0").status.phase == "Running"
    assert [event.message for event in cluster.events("SuccessfulDelete")] == ["delete Pod web-0 in StatefulSet web successful"]
    created = [event.message for event in cluster.events("SuccessfulCreate")]
    assert created == [f"create Pod web-{number} in StatefulSet web successful" for number in (0, 1)]


async def test_a_terminating_pod_is_available_while_it_is_ready(api: Api, cluster: Cluster, agents: Agents) -> None:
    """As it is ready, in a set that is being deleted too."""
    await api.create(kinds.STATEFUL_SET, stateful_set(replicas=2))
    await agents.settle()
    await cluster.delete(kinds.STATEFUL_SET, "web", propagation="Foreground")
    await cluster.advance(1)
    status = cluster.get(kinds.STATEFUL_SET, "web").status
    assert (status.replicas, status.readyReplicas, status.availableReplicas) == (2, 2, 2)
    assert (status.currentReplicas, status.updatedReplicas) == (0, 0)


async def test_on_delete_keeps_the_revision_of_the_last_rollout(api: Api, cluster: Cluster, agents: Agents) -> None:
    """As in Kubernetes it is the current one until a rolling update has ended, also when all pods were deleted."""
    await api.create(kinds.STATEFUL_SET, stateful_set(replicas=2, updateStrategy={"type": "OnDelete"}))
    await agents.settle()
    first = cluster.get(kinds.STATEFUL_SET, "web").status.currentRevision
    await change(api, template=template("web:2"))
    await cluster.delete(kinds.POD, "web-0")
    await agents.settle()
    assert cluster.get(kinds.STATEFUL_SET, "web").status.currentRevision == first
    await cluster.delete(kinds.POD, "web-1")
    await agents.settle()
    status = cluster.get(kinds.STATEFUL_SET, "web").status
    assert (status.currentRevision, status.currentReplicas, status.updatedReplicas) == (first, 0, 2)
    await change(api, updateStrategy={"type": "RollingUpdate"})
    await agents.settle()
    status = cluster.get(kinds.STATEFUL_SET, "web").status
    assert status.currentRevision == status.updateRevision != first
    assert (status.currentReplicas, status.updatedReplicas) == (2, 2)


async def test_labels_of_a_pods_identity_are_restored(api: Api, cluster: Cluster, agents: Agents) -> None:
    """Services for one pod select it by them: those that a client removed, and those of a pod that the set adopts."""
    body = {"metadata": {"name": "web-1", "namespace": "default", "labels": LABELS}, "spec": template()["spec"]}
    await api.create(kinds.POD, body)
    await api.create(kinds.STATEFUL_SET, stateful_set(replicas=2))
    await agents.settle()
    await api.patch(kinds.POD, "web-0", "MERGE", {"metadata": {"labels": {"statefulset.kubernetes.io/pod-name": None}}})
    await agents.settle()
    for number in range(2):
        labels = cluster.get(kinds.POD, f"web-{number}").metadata.labels
        assert labels["statefulset.kubernetes.io/pod-name"] == f"web-{number}"
        assert labels["apps.kubernetes.io/pod-index"] == str(number)
    messages = sorted(event.message for event in cluster.events("SuccessfulUpdate"))
    assert messages == [f"update Pod web-{number} in StatefulSet web successful" for number in range(2)]


async def test_ordinals_may_start_elsewhere(api: Api, cluster: Cluster, agents: Agents) -> None:
    """A new start moves the pods."""
    await api.create(kinds.STATEFUL_SET, stateful_set(replicas=2, ordinals={"start": 3}))
    await agents.settle()
    assert names(agents) == ["web-3", "web-4"]
    await change(api, ordinals={"start": 4})
    await agents.settle()
    assert names(agents) == ["web-4", "web-5"]


async def test_what_identifies_the_pods_does_not_change(api: Api, cluster: Cluster, agents: Agents) -> None:
    """With Kubernetes' words."""
    await api.create(kinds.STATEFUL_SET, stateful_set(replicas=1))
    for changed in ({"serviceName": "other"}, {"podManagementPolicy": "Parallel"}):
        with pytest.raises(Invalid, match="updates to statefulset spec for fields other than 'replicas'"):
            await change(api, **changed)


async def test_another_workloads_pod_of_the_name_is_left_alone(api: Api, cluster: Cluster, agents: Agents) -> None:
    """It is in the way, which an event says; when it goes, the set continues."""
    squatter = {"metadata": {"name": "web-0", "namespace": "default"}, "spec": template()["spec"]}
    await api.create(kinds.POD, squatter)
    await api.create(kinds.STATEFUL_SET, stateful_set(replicas=1))
    await agents.settle()
    assert not cluster.get(kinds.POD, "web-0").metadata.ownerReferences
    assert cluster.events("FailedCreate")
    await cluster.delete(kinds.POD, "web-0")
    await agents.settle()
    await cluster.advance(15, beating=("n1", "n2"))
    await agents.settle()
    assert cluster.get(kinds.POD, "web-0").metadata.ownerReferences
