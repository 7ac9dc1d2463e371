"""RuntimeClasses in the control plane: which pods they let in, what they fill in, and where that places pods."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane import conditions
from pinnace import kinds
from pinnace.errors import Forbidden, Invalid
from pinnace.podreferences import config_keys
from tests.support.api import Api
from tests.support.cluster import Cluster
from tests.support.objects import container, pod, runtime_class

TOLERATION = {"key": "runtime", "operator": "Equal", "value": "kata", "effect": "NoSchedule"}


def heavy(**scheduling: Any) -> Any:
    """A class that takes half a core for itself."""
    return runtime_class("heavy", overhead={"podFixed": {"cpu": "500m", "memory": "64Mi"}}, scheduling=scheduling)


async def test_a_pod_of_an_unknown_class_is_refused(cluster: Cluster) -> None:
    """As Kubernetes' admission says it."""
    with pytest.raises(Forbidden, match='"web" is forbidden: pod rejected: RuntimeClass "kata" not found'):
        await cluster.create(pod(runtimeClassName="kata"))


async def test_the_class_fills_in_overhead_and_scheduling(cluster: Cluster) -> None:
    """Beside what the pod says itself."""
    await cluster.create(heavy(nodeSelector={"runtime": "kata"}, tolerations=[TOLERATION]))
    made = await cluster.create(pod(runtimeClassName="heavy", nodeSelector={"disk": "ssd"}))
    assert {key: value.string for key, value in made.spec.overhead.items()} == {"cpu": "500m", "memory": "64Mi"}
    assert dict(made.spec.nodeSelector) == {"disk": "ssd", "runtime": "kata"}
    assert [item.value for item in made.spec.tolerations if item.key == "runtime"] == ["kata"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"nodeSelector": {"runtime": "runc"}}, r"conflict: runtimeClass.scheduling.nodeSelector\[runtime\] = kata"),
        ({"overhead": {"cpu": "1"}}, "Pod's Overhead doesn't match RuntimeClass's defined Overhead"),
    ],
)
async def test_a_pod_that_contradicts_its_class_is_refused(cluster: Cluster, spec: dict[str, Any], said: str) -> None:
    """Neither wins silently."""
    await cluster.create(heavy(nodeSelector={"runtime": "kata"}))
    with pytest.raises(Forbidden, match=said):
        await cluster.create(pod(runtimeClassName="heavy", **spec))


async def test_overhead_without_a_class_is_refused(cluster: Cluster) -> None:
    """It is the class's to say."""
    with pytest.raises(Forbidden, match="Pod Overhead set without corresponding RuntimeClass"):
        await cluster.create(pod(overhead={"cpu": "1"}))


@pytest.mark.shows("spec.overhead")
async def test_overhead_counts_in_placement(cluster: Cluster) -> None:
    """A core asked for and half a core beside it do not fit one core."""
    await cluster.create(heavy())
    await cluster.join("n1", cpu="1")
    asking = container(requests={"cpu": "800m"})
    await cluster.create(pod("heavy", asking, runtimeClassName="heavy"))
    await cluster.create(pod("light", asking))
    found = cluster.get(kinds.POD, "heavy")
    assert conditions.find(found.status, "PodScheduled").message == "0/1 nodes are available: 1 Insufficient cpu."
    assert cluster.get(kinds.POD, "light").spec.nodeName == "n1"


async def test_applying_the_same_manifest_again_changes_nothing(cluster: Cluster, api: Api) -> None:
    """What the class added to the pod is no difference."""
    await cluster.create(heavy(nodeSelector={"runtime": "kata"}, tolerations=[TOLERATION]))
    manifest = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"runtimeClassName": "heavy", "nodeSelector": {"disk": "ssd"}, "containers": [container()]},
    }  # fmt: skip
    assert [(await api.apply(manifest))[0][0] for _ in range(2)] == ["created", "unchanged"]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"handler": ""}, "handler"),
        ({"handler": "Run C"}, "handler"),
        ({"overhead": {"podFixed": {"cpu": "-1"}}}, "overhead.podFixed[cpu]"),
        ({"overhead": {"podFixed": {"example.com/gpu": "1"}}}, "overhead.podFixed[example.com/gpu]"),
        ({"scheduling": {"nodeSelector": {"a b": "c"}}}, "scheduling.nodeSelector"),
        ({"scheduling": {"tolerations": [{"operator": "Equal"}]}}, "scheduling.tolerations[0].operator"),
    ],
)
async def test_a_malformed_class_is_refused_by_field(cluster: Cluster, fields: dict[str, Any], path: str) -> None:
    """Each fault says where it is."""
    with pytest.raises(Invalid) as refused:
        await cluster.create(runtime_class(**fields))
    assert any(cause.field.startswith(path) for cause in refused.value.causes), refused.value.causes


async def test_the_handler_cannot_change(cluster: Cluster) -> None:
    """Pods of the class are running on it."""
    await cluster.create(runtime_class("r"))
    with pytest.raises(Invalid, match="handler"):
        await cluster.change(kinds.RUNTIME_CLASS, "r", lambda item: setattr(item, "handler", "crun"))


def test_a_node_is_told_the_classes_its_pods_name() -> None:
    """The agent learns the handler from the object, as it learns ConfigMaps."""
    assert kinds.RUNTIME_CLASS.key("", "heavy") in config_keys(pod(runtimeClassName="heavy"))
