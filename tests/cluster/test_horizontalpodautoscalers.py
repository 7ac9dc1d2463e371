"""HorizontalPodAutoscalers: the replicas follow what the pods use, on virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane import conditions
from controlplane.customresources.content import tree_of
from pinnace import kinds
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.kinds import Kind
from tests.support import customkinds, objects
from tests.support.api import Api
from tests.support.cluster import Cluster
from tests.support.customkinds import CRONTAB, GROUP
from tests.support.workloads import LABELS, Agents, SettledApi, deployment, replica_set, stateful_set, template

NODES = ("n1", "n2")
NAME = "web"


@pytest.fixture
def api(cluster: Cluster) -> Api:
    return SettledApi(cluster)


@pytest.fixture
async def agents(cluster: Cluster) -> Agents:
    made = Agents(cluster, *NODES)
    await made.join()
    return made


def metric(name: str = "cpu", *, container: str = "", **target: Any) -> dict[str, Any]:
    """Of a resource of the pods, or of one container of theirs."""
    type_ = "Utilization" if "averageUtilization" in target else "AverageValue"
    source = {"name": name, "target": {"type": type_, **target}}
    if container:
        return {"type": "ContainerResource", "containerResource": {**source, "container": container}}
    return {"type": "Resource", "resource": source}


def autoscaler(name: str = NAME, *, kind: str = "Deployment", api_version: str = "apps/v1", **spec: Any) -> dict[str, Any]:
    """Of the workload `web`, for half of the requested cpu, from one to ten replicas."""
    target = {"apiVersion": api_version, "kind": kind, "name": NAME}
    body = {"scaleTargetRef": target, "maxReplicas": 10, "metrics": [metric(averageUtilization=50)], **spec}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": body}


def requesting(cpu: str = "100m", **more: str) -> dict[str, Any]:
    """A workload's template with requests."""
    found = template()
    found["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu, **more}}
    return found


def at(cluster: Cluster, name: str = NAME) -> Any:
    return cluster.get(kinds.HORIZONTAL_POD_AUTOSCALER, name)


def state(cluster: Cluster, type_: str, name: str = NAME) -> tuple[str, str]:
    """Status and reason of a condition."""
    found = conditions.find(at(cluster, name).status, type_)
    return (found.status, found.reason) if found is not None else ("", "")


def message(cluster: Cluster, type_: str) -> str:
    found = conditions.find(at(cluster).status, type_)
    assert found is not None
    return str(found.message)


def replicas(cluster: Cluster, kind: Kind = kinds.DEPLOYMENT) -> int:
    found = cluster.get(kind, NAME)
    assert found is not None
    return int(found.spec.replicas)


async def pass_(cluster: Cluster, agents: Agents, seconds: float) -> None:
    """Let time pass while agents start and stop pods."""
    for _ in range(int(seconds // 5)):
        await cluster.advance(5)
        await agents.settle()


def total(cluster: Cluster, millicores: int) -> None:
    """A load that the running pods share."""

    def use(pod: Pod) -> tuple[int, int]:
        count = sum(row.message.status.phase == "Running" for row in cluster.store.rows(kinds.POD))
        return millicores // max(count, 1), 1 << 20

    cluster.load.use = use


async def started(api: Api, cluster: Cluster, agents: Agents, count: int = 1, **spec: Any) -> None:
    """The workload with its pods, which have been running for long."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=count, template=requesting(), **spec))
    await agents.settle()
    await cluster.advance(400)


async def test_it_follows_the_load_up_and_down(api: Api, cluster: Cluster, agents: Agents) -> None:
    """At once up, within the scale limit of each period; down after five minutes of a lower recommendation."""
    await started(api, cluster, agents)
    total(cluster, 400)
    await api.create(kinds.HORIZONTAL_POD_AUTOSCALER, autoscaler())
    await pass_(cluster, agents, 5)
    # 400% of one request: eight are wanted, four are allowed.
    assert replicas(cluster) == 4
    assert state(cluster, "AbleToScale") == ("True", "SucceededRescale")
    assert state(cluster, "ScalingActive") == ("True", "ValidMetricFound")
    assert state(cluster, "ScalingLimited") == ("True", "ScaleUpLimit")
    text = "New size: 4; reason: cpu resource utilization (percentage of request) above target"
    assert [event.message for event in cluster.events("SuccessfulRescale")] == [text]
    await pass_(cluster, agents, 60)
    assert replicas(cluster) == 8
    status = at(cluster).status
    assert (status.currentReplicas, status.desiredReplicas, status.observedGeneration) == (8, 8, 1)
    assert status.currentMetrics[0].resource.current.averageUtilization == 50
    assert status.currentMetrics[0].resource.current.averageValue.string == "50m"
    assert state(cluster, "ScalingLimited") == ("False", "DesiredWithinRange")
    total(cluster, 100)
    await pass_(cluster, agents, 240)
    assert replicas(cluster) == 8
    assert state(cluster, "AbleToScale") == ("True", "ScaleDownStabilized")
    await pass_(cluster, agents, 120)
    assert replicas(cluster) == 2
    assert cluster.events("SuccessfulRescale")[-1].message.endswith("All metrics below target")


async def test_a_constant_load_changes_nothing(api: Api, cluster: Cluster, agents: Agents) -> None:
    """Within the tolerance of a tenth neither the workload nor events are written."""
    await started(api, cluster, agents, 4)
    total(cluster, 4 * 54)
    await api.create(kinds.HORIZONTAL_POD_AUTOSCALER, autoscaler())
    await pass_(cluster, agents, 600)
    assert replicas(cluster) == 4
    assert cluster.events("SuccessfulRescale") == []
    assert state(cluster, "AbleToScale") == ("True", "ReadyForNewScale")
    before = at(cluster).metadata.resourceVersion
    await pass_(cluster, agents, 60)
    assert at(cluster).metadata.resourceVersion == before


async def test_it_never_leaves_its_bounds(api: Api, cluster: Cluster, agents: Agents) -> None:
    """Whatever the load; replicas outside of them are corrected without a metric."""
    await started(api, cluster, agents, 9)
    total(cluster, 0)
    await api.create(kinds.HORIZONTAL_POD_AUTOSCALER, autoscaler(minReplicas=2, maxReplicas=5))
    await pass_(cluster, agents, 5)
    assert replicas(cluster) == 5
    assert (
        cluster.events("SuccessfulRescale")[0].message
        == "New size: 5; reason: Current number of replicas above Spec.MaxReplicas"
    )
    total(cluster, 10_000)
    await pass_(cluster, agents, 30)
    assert (replicas(cluster), state(cluster, "ScalingLimited")) == (5, ("True", "TooManyReplicas"))
    total(cluster, 0)
    await cluster.advance(400)
    assert (replicas(cluster), state(cluster, "ScalingLimited")) == (2, ("True", "TooFewReplicas"))
    await api.patch(kinds.DEPLOYMENT, NAME, "MERGE", {"spec": {"replicas": 1}})
    await pass_(cluster, agents, 30)
    assert replicas(cluster) == 2
    assert "New size: 2; reason: Current number of replicas below Spec.MinReplicas" in [
        event.message for event in cluster.events("SuccessfulRescale")
    ]


async def test_zero_replicas_disable_it(api: Api, cluster: Cluster, agents: Agents) -> None:
    """Until the user wants some again."""
    await started(api, cluster, agents)
    total(cluster, 400)
    await api.patch(kinds.DEPLOYMENT, NAME, "MERGE", {"spec": {"replicas": 0}})
    await api.create(kinds.HORIZONTAL_POD_AUTOSCALER, autoscaler(minReplicas=2))
    await pass_(cluster, agents, 60)
    assert replicas(cluster) == 0
    assert state(cluster, "ScalingActive") == ("False", "ScalingDisabled")
    assert message(cluster, "ScalingActive") == "scaling is disabled since the replica count of the target is zero"
    await api.patch(kinds.DEPLOYMENT, NAME, "MERGE", {"spec": {"replicas": 1}})
    await pass_(cluster, agents, 30)
    assert replicas(cluster) >= 2


async def test_a_behavior_bounds_each_period(api: Api, cluster: Cluster, agents: Agents) -> None:
    """One pod a minute up, none down."""
    await started(api, cluster, agents)
    total(cluster, 1000)
    policy = {"type": "Pods", "value": 1, "periodSeconds": 60}
    behavior = {"scaleUp": {"policies": [policy]}, "scaleDown": {"selectPolicy": "Disabled"}}
    await api.create(kinds.HORIZONTAL_POD_AUTOSCALER, autoscaler(behavior=behavior))
    seen = []
    for _ in range(12):
        await pass_(cluster, agents, 15)
        seen.append(replicas(cluster))
    assert seen[-1] >= 3
    assert all(later - earlier <= 1 for earlier, later in zip(seen, seen[4:], strict=False))
    total(cluster, 0)
    await pass_(cluster, agents, 600)
    assert replicas(cluster) >= seen[-1]
    assert state(cluster, "ScalingLimited") == ("True", "ScaleDownLimit")


async def test_a_short_window_and_a_tolerance(api: Api, cluster: Cluster, agents: Agents) -> None:
    """Of the behavior, in place of those of the control plane."""
    await started(api, cluster, agents, 4)
    total(cluster, 4 * 53)
    behavior = {"scaleUp": {"tolerance": "0.05"}, "scaleDown": {"stabilizationWindowSeconds": 0, "tolerance": "0.5"}}
    await api.create(kinds.HORIZONTAL_POD_AUTOSCALER, autoscaler(behavior=behavior))
    await pass_(cluster, agents, 30)
    assert replicas(cluster) == 5
    total(cluster, 5 * 30)
    await pass_(cluster, agents, 60)
    assert replicas(cluster) == 5
    total(cluster, 5 * 20)
    await pass_(cluster, agents, 30)
    assert replicas(cluster) == 2


async def test_the_metric_that_asks_for_most_decides(api: Api, cluster: Cluster, agents: Agents) -> None:
    """And each shows its value: of a container, and an average in bytes."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=2, template=requesting(memory="64Mi")))
    await agents.settle()
    await cluster.advance(400)
    cluster.load.use = lambda pod: (10, 96 << 20)
    metrics = [metric(averageUtilization=50, container="main"), metric("memory", averageValue="64Mi")]
    await api.create(kinds.HORIZONTAL_POD_AUTOSCALER, autoscaler(metrics=metrics))
    await pass_(cluster, agents, 5)
    assert replicas(cluster) == 3
    [event] = cluster.events("SuccessfulRescale")
    assert event.message == "New size: 3; reason: memory resource above target"
    by_container, by_value = at(cluster).status.currentMetrics
    assert (by_container.type, by_container.containerResource.container) == ("ContainerResource", "main")
    assert by_container.containerResource.current.averageUtilization == 10
    assert by_value.resource.current.averageValue.string == "96Mi"


async def test_without_requests_there_is_no_utilization(api: Api, cluster: Cluster, agents: Agents) -> None:
    """The condition and the event say of which container."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=1))
    await agents.settle()
    await cluster.advance(400)
    total(cluster, 400)
    await api.create(kinds.HORIZONTAL_POD_AUTOSCALER, autoscaler())
    await pass_(cluster, agents, 20)
    [pod] = agents.pods()
    text = f"failed to get cpu utilization: missing request for cpu in container main of Pod {pod.metadata.name}"
    assert state(cluster, "ScalingActive") == ("False", "FailedGetResourceMetric")
    assert message(cluster, "ScalingActive") == f"the HPA was unable to compute the replica count: {text}"
    assert [event.message for event in cluster.events("FailedGetResourceMetric")] == [text]
    chain = f"invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {text}"
    assert [event.message for event in cluster.events("FailedComputeMetricsReplicas")] == [chain]
    assert replicas(cluster) == 1


async def test_a_metric_that_fails_prevents_fewer_replicas_and_not_more(api: Api, cluster: Cluster, agents: Agents) -> None:
    """The failing one might ask for as many as there are."""
    await started(api, cluster, agents, 2)
    metrics = [metric(averageUtilization=50), metric("memory", averageUtilization=50)]
    total(cluster, 20)
    await api.create(kinds.HORIZONTAL_POD_AUTOSCALER, autoscaler(metrics=metrics))
    await cluster.advance(400)
    assert replicas(cluster) == 2
    assert state(cluster, "ScalingActive") == ("False", "FailedGetResourceMetric")
    total(cluster, 200)
    await pass_(cluster, agents, 30)
    assert replicas(cluster) == 4
    assert state(cluster, "ScalingActive") == ("True", "ValidMetricFound")


async def test_nodes_that_do_not_answer(api: Api, cluster: Cluster, agents: Agents) -> None:
    """No pod is measured: nothing is changed, and the reason is shown; with one node left, its pods decide and the others
    dampen."""
    await started(api, cluster, agents, 2)
    total(cluster, 400)
    cluster.load.silent = set(NODES)
    await api.create(kinds.HORIZONTAL_POD_AUTOSCALER, autoscaler())
    await pass_(cluster, agents, 30)
    text = (
        "failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource metrics API"
    )
    assert message(cluster, "ScalingActive").endswith(text)
    assert replicas(cluster) == 2
    cluster.load.silent = {"n1"}
    await pass_(cluster, agents, 30)
    assert replicas(cluster) == 4


async def test_starting_pods_do_not_count_for_cpu(api: Api, cluster: Cluster, agents: Agents) -> None:
    """Those that are not ready yet use more than later."""
    await api.create(kinds.DEPLOYMENT, deployment(replicas=2, template=requesting()))
    await agents.settle(fails=lambda pod: True)
    cluster.load.use = lambda pod: (100, 0)
    await api.create(kinds.HORIZONTAL_POD_AUTOSCALER, autoscaler())
    await cluster.advance(60)
    assert message(cluster, "ScalingActive").endswith("did not receive metrics for targeted pods (pods might be unready)")
    assert replicas(cluster) == 2


@pytest.mark.parametrize(
    ("kind", "manifest"), [(kinds.REPLICA_SET, replica_set), (kinds.STATEFUL_SET, stateful_set)], ids=["ReplicaSet", "StatefulSet"]
)  # fmt: skip
async def test_other_workloads(api: Api, cluster: Cluster, agents: Agents, kind: Kind, manifest: Any) -> None:
    """Scaled by their subresource like a Deployment."""
    await api.create(kind, manifest(replicas=1, template=requesting()))
    await agents.settle()
    await cluster.advance(400)
    cluster.load.use = lambda pod: (100, 0)
    await api.create(kinds.HORIZONTAL_POD_AUTOSCALER, autoscaler(kind=kind.kind))
    await pass_(cluster, agents, 5)
    assert replicas(cluster, kind) == 2


async def test_a_replication_controller_and_its_owner_of_the_field(api: Api, cluster: Cluster, agents: Agents) -> None:
    """In the core group. What was written through `scale` belongs to the controller manager."""
    manifest = {"metadata": {"name": NAME}, "spec": {"replicas": 1, "selector": LABELS, "template": requesting()}}
    await api.create(kinds.REPLICATION_CONTROLLER, manifest)
    await agents.settle()
    await cluster.advance(400)
    cluster.load.use = lambda pod: (100, 0)
    await api.create(kinds.HORIZONTAL_POD_AUTOSCALER, autoscaler(kind="ReplicationController", api_version="v1"))
    await pass_(cluster, agents, 5)
    assert replicas(cluster, kinds.REPLICATION_CONTROLLER) == 2
    entries = cluster.get(kinds.REPLICATION_CONTROLLER, NAME).metadata.managedFields
    assert ("kube-controller-manager", "scale") in [(entry.manager, entry.subresource) for entry in entries]


@pytest.mark.parametrize(
    ("kind", "api_version", "text"),
    [
        ("Deployment", "apps/v1", 'deployments/scale.apps "web" not found'),
        ("Widget", "example.com/v1", 'no matches for kind "Widget" in group "example.com"'),
        ("DaemonSet", "apps/v1", "the server could not find the requested resource"),
    ],
)
async def test_a_target_that_cannot_be_scaled(api: Api, cluster: Cluster, kind: str, api_version: str, text: str) -> None:
    """Not there, of an unknown kind, or without the subresource."""
    await api.create(kinds.HORIZONTAL_POD_AUTOSCALER, autoscaler(kind=kind, api_version=api_version))
    await cluster.advance(30)
    assert state(cluster, "AbleToScale") == ("False", "FailedGetScale")
    assert message(cluster, "AbleToScale") == f"the HPA controller was unable to get the target's current scale: {text}"
    [event] = cluster.events("FailedGetScale")
    assert (event.message, event.type, event.involvedObject.apiVersion) == (text, "Warning", "autoscaling/v2")
    assert event.count >= 2


async def test_two_autoscalers_of_the_same_pods_do_nothing(api: Api, cluster: Cluster, agents: Agents) -> None:
    """Until one of them is gone."""
    await started(api, cluster, agents)
    total(cluster, 50)
    for name in (NAME, "other"):
        await api.create(kinds.HORIZONTAL_POD_AUTOSCALER, autoscaler(name))
    total(cluster, 400)
    await pass_(cluster, agents, 30)
    assert state(cluster, "ScalingActive") == state(cluster, "ScalingActive", "other") == ("False", "AmbiguousSelector")
    assert message(cluster, "ScalingActive") == (
        "pods by selector app=web are controlled by more than one HPA (e.g. [{web default} {other default}])"
    )
    assert replicas(cluster) == 1
    await cluster.delete(kinds.HORIZONTAL_POD_AUTOSCALER, "other")
    await pass_(cluster, agents, 30)
    assert replicas(cluster) > 1


PATHS = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": ".status.selector",
}
COUNT = {"type": "object", "properties": {"replicas": {"type": "integer", "maximum": 3}, "selector": {"type": "string"}}}


async def crontab(api: Api, cluster: Cluster, agents: Agents, selector: str) -> None:
    """A custom object with replicas, at most three, and a pod that it claims to be its own."""
    schema = {"type": "object", "properties": {"spec": COUNT, "status": COUNT}}
    subresources = {"status": {}, "scale": PATHS}
    definition = customkinds.definition(subresources=subresources, schema={"openAPIV3Schema": schema})
    await api.create(kinds.CUSTOM_RESOURCE_DEFINITION, definition)
    await cluster.advance(1)
    manifest = customkinds.crontab(NAME, replicas=1)
    del manifest["spec"]["cronSpec"]
    await api.create(CRONTAB, manifest)
    await api.update_status(CRONTAB, {**manifest, "status": {"replicas": 1, "selector": selector}})
    await cluster.create(objects.pod(NAME, objects.container(requests={"cpu": "100m"}), meta={"labels": LABELS}))
    await agents.settle()
    await cluster.advance(400)


def of_crontab(**spec: Any) -> dict[str, Any]:
    return autoscaler(kind="CronTab", api_version=f"{GROUP}/v1", **spec)


async def test_a_custom_kind_with_scale(api: Api, cluster: Cluster, agents: Agents) -> None:
    """By the paths of its definition; replicas that its rules reject are not set, and the reason is shown."""
    await crontab(api, cluster, agents, "app=web")
    cluster.load.use = lambda pod: (100, 0)
    await api.create(kinds.HORIZONTAL_POD_AUTOSCALER, of_crontab())
    await pass_(cluster, agents, 5)
    assert tree_of(await api.get(CRONTAB, NAME))["spec"]["replicas"] == 2
    cluster.load.use = lambda pod: (500, 0)
    await pass_(cluster, agents, 30)
    assert state(cluster, "AbleToScale") == ("False", "FailedUpdateScale")
    assert "should be less than or equal to 3" in message(cluster, "AbleToScale")
    assert "New size: 4; reason: cpu resource" in cluster.events("FailedRescale")[0].message
    assert at(cluster).status.desiredReplicas == 2


@pytest.mark.parametrize(
    ("selector", "reason", "text"),
    [
        ("", "InvalidSelector", "the HPA target's scale is missing a selector"),
        ("a in b", "InvalidSelector", "couldn't convert selector into a corresponding internal selector object: "),
        ("app=none", "FailedGetResourceMetric", "no pods returned by selector while calculating replica count"),
    ],
)
async def test_a_selector_without_pods(
    api: Api, cluster: Cluster, agents: Agents, selector: str, reason: str, text: str
) -> None:  # fmt: skip
    """None at all, one that cannot be read, and one that matches nothing."""
    await crontab(api, cluster, agents, selector)
    await api.create(kinds.HORIZONTAL_POD_AUTOSCALER, of_crontab())
    await pass_(cluster, agents, 20)
    assert state(cluster, "ScalingActive") == ("False", reason)
    assert text in message(cluster, "ScalingActive")


async def test_only_nodes_of_its_pods_are_asked(api: Api, cluster: Cluster, agents: Agents) -> None:
    """And none before there is an autoscaler, nor after its end."""
    await started(api, cluster, agents)
    assert cluster.load.asked == []
    await api.create(kinds.HORIZONTAL_POD_AUTOSCALER, autoscaler(maxReplicas=1))
    [pod] = agents.pods()
    assert cluster.load.asked == [[pod.spec.nodeName]]
    await pass_(cluster, agents, 60)
    count = len(cluster.load.asked)
    assert count > 5
    assert all(nodes == [pod.spec.nodeName] for nodes in cluster.load.asked)
    await cluster.delete(kinds.HORIZONTAL_POD_AUTOSCALER, NAME)
    await pass_(cluster, agents, 60)
    assert len(cluster.load.asked) == count
