"""DaemonSets: one pod on each node that the template allows, replaced a few at a time, on virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane import conditions
from controlplane.controllers import history
from pinnace import codec, kinds
from tests.support.api import Api
from tests.support.cluster import Cluster
from tests.support.objects import container, pod
from tests.support.workloads import Agents, SettledApi, daemon_set, template

NODES = ("n1", "n2", "n3", "n4")


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return SettledApi(cluster)


@pytest.fixture
async def agents(cluster: Cluster) -> Agents:
    made = Agents(cluster, *NODES)
    await made.join()
    return made


def where(agents: Agents) -> list[str]:
    """Nodes of the pods that are not being deleted."""
    return sorted(pod.spec.nodeName for pod in agents.pods() if not pod.metadata.deletionTimestamp.seconds)


def images(agents: Agents) -> list[str]:
    return sorted(pod.spec.containers[0].image for pod in agents.pods())


async def taint(api: Api, node: str, key: str, effect: str) -> None:
    await api.patch(kinds.NODE, node, "MERGE", {"spec": {"taints": [{"key": key, "effect": effect}]}})


async def test_every_node_gets_a_pod(api: Api, cluster: Cluster, agents: Agents) -> None:
    """Also one that joins later; the pod of a node that leaves goes with it."""
    await api.create(kinds.DAEMON_SET, daemon_set())
    await agents.settle()
    assert where(agents) == list(NODES)
    status = cluster.get(kinds.DAEMON_SET, "web").status
    counts = status.desiredNumberScheduled, status.currentNumberScheduled, status.numberReady, status.updatedNumberScheduled
    assert counts == (4, 4, 4, 4)
    assert (status.numberAvailable, status.numberUnavailable, status.numberMisscheduled) == (4, 0, 0)
    await cluster.join("n5", cpu="4")
    cluster.alive.add("n5")
    await agents.settle()
    assert where(agents) == [*NODES, "n5"]
    cluster.alive.discard("n1")
    await cluster.delete(kinds.NODE, "n1")
    await cluster.advance(60, beating=())
    assert "n1" not in where(agents)
    assert cluster.get(kinds.DAEMON_SET, "web").status.desiredNumberScheduled == 4


async def test_selectors_and_taints_decide_where(api: Api, cluster: Cluster, agents: Agents) -> None:
    """A label moves a pod; NoSchedule keeps new ones away and lets a running one stay; NoExecute takes it away."""
    await api.patch(kinds.NODE, "n1", "MERGE", {"metadata": {"labels": {"disk": "ssd"}}})
    await api.create(kinds.DAEMON_SET, daemon_set(template=template(nodeSelector={"disk": "ssd"})))
    await agents.settle()
    assert where(agents) == ["n1"]
    await api.patch(kinds.NODE, "n2", "MERGE", {"metadata": {"labels": {"disk": "ssd"}}})
    await agents.settle()
    assert where(agents) == ["n1", "n2"]
    await api.patch(kinds.NODE, "n1", "MERGE", {"metadata": {"labels": {"disk": None}}})
    await agents.settle()
    assert where(agents) == ["n2"]
    await taint(api, "n2", "maintenance", "NoSchedule")
    await agents.settle()
    assert where(agents) == ["n2"]
    status = cluster.get(kinds.DAEMON_SET, "web").status
    assert (status.desiredNumberScheduled, status.numberMisscheduled) == (0, 1)
    await taint(api, "n2", "maintenance", "NoExecute")
    await agents.settle()
    assert where(agents) == []


async def test_a_cordoned_or_sick_node_keeps_its_pod(api: Api, cluster: Cluster, agents: Agents) -> None:
    """As every pod of a DaemonSet tolerates what kubectl cordon and the node's conditions add."""
    await api.create(kinds.DAEMON_SET, daemon_set())
    await agents.settle()
    await api.patch(kinds.NODE, "n1", "MERGE", {"spec": {"unschedulable": True}})
    cluster.alive.discard("n2")
    await cluster.advance(120)
    await agents.settle()
    assert where(agents) == list(NODES)
    await cluster.delete(kinds.POD, next(pod.metadata.name for pod in agents.pods() if pod.spec.nodeName == "n1"))
    await agents.settle()
    assert where(agents) == list(NODES)


@pytest.mark.parametrize(("most", "least"), [(1, 3), (2, 2), ("50%", 2), ("100%", 0)])
async def test_a_rolling_update_leaves_few_nodes_without(
    api: Api, cluster: Cluster, agents: Agents, most: Any, least: int
) -> None:
    """Never more than maxUnavailable; a rollback uses the earlier revision, under a new number."""
    strategy = {"rollingUpdate": {"maxUnavailable": most}}
    await api.create(kinds.DAEMON_SET, daemon_set(updateStrategy=strategy))
    await agents.settle()
    await api.patch(kinds.DAEMON_SET, "web", "MERGE", {"spec": {"template": template("web:2")}})
    seen: list[int] = []

    def watch() -> None:
        live = [pod for pod in agents.pods() if not pod.metadata.deletionTimestamp.seconds]
        seen.append(sum(pod.status.phase == "Running" for pod in live))

    await agents.settle(watch=watch)
    assert min(seen) >= least
    assert images(agents) == ["web:2"] * 4
    assert cluster.get(kinds.DAEMON_SET, "web").status.updatedNumberScheduled == 4
    await api.patch(kinds.DAEMON_SET, "web", "MERGE", {"spec": {"template": template("web:1")}})
    await agents.settle()
    revisions = [row.parse() for row in cluster.store.rows(kinds.CONTROLLER_REVISION, "default")]
    assert sorted(item.revision for item in revisions) == [2, 3]
    [latest] = [item for item in revisions if item.revision == 3]
    assert {pod.metadata.labels[history.HASH] for pod in agents.pods()} == {history.hash_of(latest)}


async def test_a_surge_starts_new_pods_before_old_ones_end(api: Api, cluster: Cluster, agents: Agents) -> None:
    """Every node has an available pod at every moment."""
    strategy = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    await api.create(kinds.DAEMON_SET, daemon_set(updateStrategy=strategy))
    await agents.settle()
    await api.patch(kinds.DAEMON_SET, "web", "MERGE", {"spec": {"template": template("web:2")}})
    covered: list[set[str]] = []

    def watch() -> None:
        live = [pod for pod in agents.pods() if not pod.metadata.deletionTimestamp.seconds]
        covered.append({pod.spec.nodeName for pod in live if pod.status.phase == "Running"})
        assert len(live) <= 5

    await agents.settle(watch=watch)
    assert all(nodes == set(NODES) for nodes in covered)
    assert images(agents) == ["web:2"] * 4


async def test_a_node_that_is_away_counts_as_unavailable(api: Api, cluster: Cluster, agents: Agents) -> None:
    """It takes no new pods, and a rollout takes none of another node instead."""
    await api.create(kinds.DAEMON_SET, daemon_set())
    await agents.settle()
    [lost] = [pod for pod in agents.pods() if pod.spec.nodeName == "n2"]
    await cluster.delete(kinds.POD, lost.metadata.name)
    cluster.alive.discard("n2")
    await cluster.advance(60)
    await api.patch(kinds.DAEMON_SET, "web", "MERGE", {"spec": {"template": template("web:2")}})
    assert where(agents) == ["n1", "n3", "n4"]
    assert set(images(agents)) == {"web:1"}


async def test_a_surge_is_one_pod_however_often_the_template_changes(api: Api, cluster: Cluster, agents: Agents) -> None:
    """The pod of the template in between goes; the one that serves stays."""
    strategy = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "100%"}}
    await api.create(kinds.DAEMON_SET, daemon_set(updateStrategy=strategy))
    await agents.settle()
    for image in ("web:2", "web:3"):
        await api.patch(kinds.DAEMON_SET, "web", "MERGE", {"spec": {"template": template(image)}})
        live = [pod for pod in agents.pods() if not pod.metadata.deletionTimestamp.seconds]
        assert sorted(pod.spec.containers[0].image for pod in live) == ["web:1"] * 4 + [image] * 4
    await agents.settle()
    assert images(agents) == ["web:3"] * 4


async def test_an_old_pod_that_serves_no_more_does_not_wait_for_the_new_one(api: Api, cluster: Cluster, agents: Agents) -> None:
    """With a surge: there is nothing to keep."""
    strategy = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "100%"}}
    await api.create(kinds.DAEMON_SET, daemon_set(updateStrategy=strategy))
    await agents.settle()
    await api.patch(kinds.DAEMON_SET, "web", "MERGE", {"spec": {"template": template("web:2")}})
    old = next(pod for pod in agents.pods() if pod.spec.containers[0].image == "web:1")
    await agents.start(old, ready=False)
    deleted = [pod.metadata.name for pod in agents.pods() if pod.metadata.deletionTimestamp.seconds]
    assert deleted == [old.metadata.name]


async def test_on_delete_replaces_what_is_deleted(api: Api, cluster: Cluster, agents: Agents) -> None:
    """And nothing else."""
    await api.create(kinds.DAEMON_SET, daemon_set(updateStrategy={"type": "OnDelete"}))
    await agents.settle()
    await api.patch(kinds.DAEMON_SET, "web", "MERGE", {"spec": {"template": template("web:2")}})
    await agents.settle()
    assert images(agents) == ["web:1"] * 4
    await cluster.delete(kinds.POD, agents.pods()[0].metadata.name)
    await agents.settle()
    assert images(agents) == ["web:1"] * 3 + ["web:2"]


async def test_pods_that_fail_are_replaced_ever_later(api: Api, cluster: Cluster, agents: Agents) -> None:
    """The first at once, the next after a second, two, four: no loop where a node rejects its pod again and again."""
    await api.create(kinds.DAEMON_SET, daemon_set())
    await agents.settle()

    def present() -> str:
        [found] = [found for found in agents.pods() if found.spec.nodeName == "n1"]
        return str(found.metadata.name)

    async def fail() -> str:
        failed = cluster.get(kinds.POD, present())
        await cluster.report("n1", failed, phase="Failed")
        await agents.settle()
        return str(failed.metadata.name)

    assert await fail() != present()
    for delay in (1, 2, 4):
        name = await fail()
        await cluster.advance(0.9 * delay, beating=NODES)
        assert name == present(), delay
        await cluster.advance(0.2 * delay, beating=NODES)
        await agents.settle()
        assert name != present(), delay
    assert [event.count for event in cluster.events("FailedDaemonPod")] == [1] * 4
    assert where(agents) == list(NODES)


async def test_required_node_affinity_decides_where(api: Api, cluster: Cluster, agents: Agents) -> None:
    """A pod is for one node, in place of the template's terms; preferred terms are kept."""
    await api.patch(kinds.NODE, "n1", "MERGE", {"metadata": {"labels": {"disk": "ssd"}}})
    required = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]}
    preferred = [{"weight": 1, "preference": {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}}]
    affinity = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": required,
            "preferredDuringSchedulingIgnoredDuringExecution": preferred,
        }
    }
    await api.create(kinds.DAEMON_SET, daemon_set(template=template(affinity=affinity)))
    await agents.settle()
    assert where(agents) == ["n1"]
    [made] = agents.pods()
    terms = made.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms
    assert codec.encode(terms[0]) == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
    assert len(terms) == len(made.spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution) == 1
    await api.patch(kinds.NODE, "n3", "MERGE", {"metadata": {"labels": {"disk": "ssd"}}})
    await agents.settle()
    assert where(agents) == ["n1", "n3"]
    await api.patch(kinds.NODE, "n1", "MERGE", {"metadata": {"labels": {"disk": "hdd"}}})
    await agents.settle()
    assert where(agents) == ["n3"]


async def test_a_pod_waits_for_room_on_its_own_node(api: Api, cluster: Cluster, agents: Agents) -> None:
    """The scheduler binds it; another node with room is not for it."""
    full = pod("full", container(requests={"cpu": "100"}), nodeName="n1")
    await cluster.create(full)
    requests = {"containers": [container(requests={"cpu": "1"})]}
    await api.create(kinds.DAEMON_SET, daemon_set(template=template(**requests)))
    await agents.settle()
    assert where(agents) == ["", "n1", "n2", "n3", "n4"]
    [waiting] = [found for found in agents.pods() if not found.spec.nodeName]
    condition = conditions.find(waiting.status, "PodScheduled")
    assert condition is not None
    assert condition.message == (
        "0/4 nodes are available: 1 Insufficient cpu, 3 node(s) didn't match Pod's node affinity/selector."
    )
    await cluster.delete(kinds.POD, "full", grace=0)
    await agents.settle()
    assert where(agents) == list(NODES)


async def test_earlier_templates_are_kept_for_a_while(api: Api, cluster: Cluster, agents: Agents) -> None:
    """As many as revisionHistoryLimit says."""
    await api.create(kinds.DAEMON_SET, daemon_set(revisionHistoryLimit=1))
    await agents.settle()
    for number in range(2, 5):
        await api.patch(kinds.DAEMON_SET, "web", "MERGE", {"spec": {"template": template(f"web:{number}")}})
        await agents.settle()
    revisions = [row.parse().revision for row in cluster.store.rows(kinds.CONTROLLER_REVISION, "default")]
    assert sorted(revisions) == [3, 4]


async def test_a_pod_that_ended_and_is_kept_by_a_finalizer_is_replaced(api: Api, cluster: Cluster, agents: Agents) -> None:
    """Its holder may take its time; the pod counts no more."""
    await api.create(kinds.DAEMON_SET, daemon_set(template=template(nodeSelector={"kubernetes.io/hostname": "n1"})))
    await agents.settle()
    [first] = agents.pods()
    await cluster.change(kinds.POD, first.metadata.name, lambda found: found.metadata.finalizers.append("example.com/hold"))
    await cluster.report("n1", first, phase="Failed")
    await cluster.advance(5, beating=NODES)
    kept, new = sorted(agents.pods(), key=lambda each: each.metadata.name != first.metadata.name)
    assert (kept.status.phase, bool(kept.metadata.deletionTimestamp.seconds)) == ("Failed", True)
    await agents.start(new)
    assert new.spec.nodeName == "n1"
    status = cluster.get(kinds.DAEMON_SET, "web").status
    assert (status.currentNumberScheduled, status.numberReady) == (1, 1)


async def test_a_node_is_up_to_date_when_its_earlier_pod_is_gone(api: Api, cluster: Cluster, agents: Agents) -> None:
    """With a surge both run for a while; the oldest pod counts."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    spec = template(nodeSelector={"kubernetes.io/hostname": "n1"})
    await api.create(kinds.DAEMON_SET, daemon_set(template=spec, updateStrategy=strategy))
    await agents.settle()
    await cluster.advance(2, beating=NODES)
    changed = template("web:2", nodeSelector={"kubernetes.io/hostname": "n1"})
    await api.patch(kinds.DAEMON_SET, "web", "MERGE", {"spec": {"template": changed}})
    assert images(agents) == ["web:1", "web:2"]
    assert cluster.get(kinds.DAEMON_SET, "web").status.updatedNumberScheduled == 0
    await agents.settle()
    assert images(agents) == ["web:2"]
    assert cluster.get(kinds.DAEMON_SET, "web").status.updatedNumberScheduled == 1


@pytest.mark.parametrize(
    ("phase", "reason", "text"),
    [
        ("Failed", "FailedDaemonPod", "Found failed daemon pod default/{} on node n1, will try to kill it"),
        ("Succeeded", "SucceededDaemonPod", "Found succeeded daemon pod default/{} on node n1, will try to delete it"),
    ],
)
async def test_a_pod_that_ended_has_an_event(
    api: Api, cluster: Cluster, agents: Agents, phase: str, reason: str, text: str
) -> None:
    """In the words of the end."""
    await api.create(kinds.DAEMON_SET, daemon_set(template=template(nodeSelector={"kubernetes.io/hostname": "n1"})))
    await agents.settle()
    [first] = agents.pods()
    await cluster.report("n1", first, phase=phase)
    await agents.settle()
    assert [event.message for event in cluster.events(reason)] == [text.format(first.metadata.name)]
