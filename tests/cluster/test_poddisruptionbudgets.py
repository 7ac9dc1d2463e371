"""PodDisruptionBudgets: what they allow, and evictions that never take more, on virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane import conditions
from controlplane.requests import actions
from controlplane.resources import poddisruptionbudget
from controlplane.resources.pod import POD
from pinnace import codec, kinds
from pinnace.errors import ApiError, Internal, TooManyRequests
from pinnace.policy.v1.policy_pb2 import Eviction
from tests.support.api import Api
from tests.support.cluster import Cluster
from tests.support.workloads import LABELS, Agents, SettledApi, daemon_set, deployment, replica_set, template


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return SettledApi(cluster)


@pytest.fixture
async def agents(cluster: Cluster) -> Agents:
    made = Agents(cluster, "n1", "n2")
    await made.join()
    return made


def budget(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"selector": {"matchLabels": LABELS}, **spec}}


def allowed(cluster: Cluster) -> tuple[int, int, int, int]:
    status = cluster.get(kinds.POD_DISRUPTION_BUDGET, "web").status
    return status.disruptionsAllowed, status.currentHealthy, status.desiredHealthy, status.expectedPods


async def evict(cluster: Cluster, name: str) -> None:
    """As POST .../pods/NAME/eviction."""
    request = Eviction()
    request.metadata.name, request.metadata.namespace = name, "default"
    action = POD.actions["eviction"]
    await cluster.store.update(lambda tx: actions.perform(tx, POD, action, "default", name, request, cluster.call()))


async def rest(api: Api) -> None:
    await api.patch(kinds.NODE, "n1", "MERGE", {})


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minAvailable": 3}, (1, 4, 3, 4)),
        ({"minAvailable": "50%"}, (2, 4, 2, 4)),
        ({"minAvailable": "51%"}, (1, 4, 3, 4)),
        ({"maxUnavailable": 1}, (1, 4, 3, 4)),
        ({"maxUnavailable": "30%"}, (2, 4, 2, 4)),
        ({"maxUnavailable": 0}, (0, 4, 4, 4)),
        ({"minAvailable": 9}, (0, 4, 9, 4)),
        ({}, (4, 4, 0, 4)),
    ],
)  # fmt: skip
async def test_a_bound_follows_from_the_workload(
    api: Api, cluster: Cluster, agents: Agents, spec: dict[str, Any], expected: tuple[int, ...]
) -> None:
    """Percentages are of what the workload wants, rounded up."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=4))
    await api.create(kinds.POD_DISRUPTION_BUDGET, budget(**spec))
    assert allowed(cluster)[:2] == (0, 0)
    await agents.settle()
    assert allowed(cluster) == expected
    found = conditions.find(cluster.get(kinds.POD_DISRUPTION_BUDGET, "web").status, "DisruptionAllowed")
    assert found is not None
    assert (found.status, found.reason) == (("True", "SufficientPods") if expected[0] else ("False", "InsufficientPods"))


async def test_evictions_take_what_is_allowed_and_no_more(api: Api, cluster: Cluster, agents: Agents) -> None:
    """In one go, before any controller has counted again; when a new pod is ready, the next may go."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=4))
    await api.create(kinds.POD_DISRUPTION_BUDGET, budget(minAvailable=2))
    await agents.settle()
    first, second, *others = agents.pods()
    await evict(cluster, first.metadata.name)
    await evict(cluster, second.metadata.name)
    for pod in others:
        with pytest.raises(
            TooManyRequests, match="Cannot evict pod as it would violate the pod's disruption budget"
        ) as refused:
            await evict(cluster, pod.metadata.name)
        [cause] = refused.value.causes
        assert cause.reason == "DisruptionBudget"
        assert cause.message == "The disruption budget web does not allow evicting pods currently"
    await rest(api)
    await agents.settle()
    assert allowed(cluster) == (2, 4, 2, 4)
    assert not cluster.get(kinds.POD_DISRUPTION_BUDGET, "web").status.disruptedPods


async def test_a_pod_that_does_not_run_goes_without_a_budget(api: Api, cluster: Cluster, agents: Agents) -> None:
    """It is not available anyway."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=1))
    await api.create(kinds.POD_DISRUPTION_BUDGET, budget(minAvailable=1))
    [pod] = agents.pods()
    await evict(cluster, pod.metadata.name)


@pytest.mark.parametrize(("policy", "goes"), [("AlwaysAllow", True), ("IfHealthyBudget", False)])
async def test_a_pod_that_is_not_ready_goes_by_policy(
    api: Api, cluster: Cluster, agents: Agents, policy: str, *, goes: bool
) -> None:
    """By default only while the others are as many as they should be."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=2))
    await api.create(kinds.POD_DISRUPTION_BUDGET, budget(minAvailable=2, unhealthyPodEvictionPolicy=policy))
    first, second = agents.pods()
    await agents.start(first)
    await agents.start(second, ready=False)
    outcome: ApiError | None = None
    try:
        await evict(cluster, second.metadata.name)
    except TooManyRequests as error:
        outcome = error
    assert (outcome is None) is goes


async def test_an_eviction_that_deletes_nothing_counts_for_two_minutes(api: Api, cluster: Cluster, agents: Agents) -> None:
    """As when a client charges the budget and does not delete the pod."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=2))
    await api.create(kinds.POD_DISRUPTION_BUDGET, budget(minAvailable=1))
    await agents.settle()
    stored = cluster.get(kinds.POD_DISRUPTION_BUDGET, "web")
    stored.status.disruptedPods[agents.pods()[0].metadata.name].seconds = int(cluster.clock.now())
    await api.update_status(kinds.POD_DISRUPTION_BUDGET, stored)
    await rest(api)
    assert allowed(cluster) == (0, 1, 1, 2)
    assert not cluster.events("NotDeleted")
    await cluster.advance(130, beating=("n1", "n2"))
    assert allowed(cluster) == (1, 2, 1, 2)
    [event] = cluster.events("NotDeleted")
    assert (event.involvedObject.kind, event.involvedObject.name) == ("Pod", agents.pods()[0].metadata.name)
    assert event.message == "Pod was expected by PDB default/web to be deleted but it wasn't"


async def test_two_budgets_of_one_pod_are_an_error(api: Api, cluster: Cluster, agents: Agents) -> None:
    """As in Kubernetes: neither may be charged alone."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=1))
    for name in ("web", "other"):
        await api.create(kinds.POD_DISRUPTION_BUDGET, budget(name, maxUnavailable=1))
    await agents.settle()
    with pytest.raises(Internal, match="more than one PodDisruptionBudget"):
        await evict(cluster, agents.pods()[0].metadata.name)


def disruption_allowed(cluster: Cluster) -> tuple[str, str, str]:
    found = conditions.find(cluster.get(kinds.POD_DISRUPTION_BUDGET, "web").status, "DisruptionAllowed")
    assert found is not None
    return found.status, found.reason, found.message


async def test_a_workload_without_scale_allows_nothing(api: Api, cluster: Cluster, agents: Agents) -> None:
    """How many pods of a DaemonSet there should be is no number that it has; a number of available pods needs none."""
    await api.create(kinds.DAEMON_SET, daemon_set())
    await agents.settle()
    await api.create(kinds.POD_DISRUPTION_BUDGET, budget(maxUnavailable=1))
    why = "daemonsets.apps does not implement the scale subresource"
    assert disruption_allowed(cluster) == ("False", "SyncFailed", why)
    assert allowed(cluster) == (0, 0, 0, 0)
    [event] = cluster.events("CalculateExpectedPodCountFailed")
    assert (event.type, event.message) == ("Warning", f"Failed to calculate the number of expected pods: {why}")
    await api.patch(kinds.POD_DISRUPTION_BUDGET, "web", "MERGE", {"spec": {"maxUnavailable": None, "minAvailable": 1}})
    assert disruption_allowed(cluster) == ("True", "SufficientPods", "")
    assert allowed(cluster) == (1, 2, 1, 2)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ({"currentHealthy": 3, "desiredHealthy": 3}, "needs 3 healthy pods and has 3 currently"),
        ({"currentHealthy": 4, "desiredHealthy": 3}, "does not allow evicting pods currently"),
        (
            {
                "currentHealthy": 4, "desiredHealthy": 3,
                "conditions": [{"type": "DisruptionAllowed", "status": "False", "reason": "Frozen", "message": "by me"}],
            },
            "does not allow evicting pods currently (Frozen): by me",
        ),
        (
            {"conditions": [{"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "no scale"}]},
            "does not allow evicting pods currently because it failed sync: no scale",
        ),
    ],
)  # fmt: skip
def test_why_a_budget_allows_no_eviction(status: dict[str, Any], text: str) -> None:
    """Numbers explain it only where too few pods are healthy; another controller's reason does where it has one."""
    item = codec.decode(kinds.POD_DISRUPTION_BUDGET.cls, {"metadata": {"name": "web"}, "status": status})
    assert poddisruptionbudget.refusal(item) == f"The disruption budget web {text}"


async def test_pods_without_a_controller_are_named_unmanaged(api: Api, cluster: Cluster, agents: Agents) -> None:
    """With the advice of Kubernetes; they do not count."""
    await api.create(
        kinds.POD, {"metadata": {"name": "alone", "namespace": "default", "labels": LABELS}, "spec": template()["spec"]}
    )
    await agents.settle()
    await api.create(kinds.POD_DISRUPTION_BUDGET, budget(maxUnavailable=1))
    assert allowed(cluster) == (0, 1, 0, 0)
    [event] = cluster.events("UnmanagedPods")
    assert event.message.startswith("Pods selected by this PodDisruptionBudget (selector: app=web) were found to be unmanaged.")


async def test_a_workload_counts_by_itself_and_not_by_its_owner(api: Api, cluster: Cluster, agents: Agents) -> None:
    """A ReplicaSet of an object of another kind; of owners only a Deployment counts in place of its ReplicaSet."""
    owner = {"apiVersion": "v1", "kind": "ReplicationController", "name": "above", "controller": True}
    above = {"replicas": 7, "selector": {"app": "other"}, "template": template(labels={"app": "other"})}
    made = await api.create(
        kinds.REPLICATION_CONTROLLER, {"metadata": {"name": "above", "namespace": "default"}, "spec": above}
    )
    manifest = replica_set(replicas=2)
    manifest["metadata"]["ownerReferences"] = [{**owner, "uid": made.metadata.uid}]
    await api.create(kinds.REPLICA_SET, manifest)
    await agents.settle()
    await api.create(kinds.POD_DISRUPTION_BUDGET, budget(maxUnavailable=1))
    assert allowed(cluster) == (1, 2, 1, 2)


async def test_pods_that_have_ended_are_expected_too(api: Api, cluster: Cluster, agents: Agents) -> None:
    """As Kubernetes counts for a number of available pods."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=2))
    await agents.settle()
    await api.create(kinds.POD_DISRUPTION_BUDGET, budget(minAvailable=1))
    [first, _] = agents.pods()
    await cluster.report(first.spec.nodeName, first, phase="Failed")
    await agents.settle()
    assert allowed(cluster) == (1, 2, 1, 3)


async def test_a_budget_that_selects_nothing_has_an_event(api: Api, cluster: Cluster, agents: Agents) -> None:
    """Once, however often its namespace changes."""
    await api.create(kinds.POD_DISRUPTION_BUDGET, budget(minAvailable=1))
    await api.create(kinds.DEPLOYMENT, {**deployment(), "spec": {**deployment()["spec"], "replicas": 0}})
    [event] = cluster.events("NoPods")
    assert (event.type, event.message, event.count) == ("Normal", "No matching pods found", 1)
