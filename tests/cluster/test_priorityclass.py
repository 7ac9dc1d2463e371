"""Priority classes: what a pod's class gives it, and what the server keeps for itself."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pinnace import errors, kinds
from tests.support.api import Api, pod_manifest
from tests.support.cluster import Cluster

POD, CLASS = kinds.POD, kinds.PRIORITY_CLASS


def priority_class(name: str, value: int, **rest: Any) -> dict[str, Any]:
    return {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value, **rest}


async def test_every_cluster_has_the_system_classes(cluster: Cluster) -> None:
    """With Kubernetes' values."""
    values = {name: cluster.get(CLASS, name).value for name in cluster.names(CLASS)}
    assert values == {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


@pytest.mark.shows("spec.priorityClassName", "spec.preemptionPolicy")
async def test_a_pod_has_the_priority_of_its_class(api: Api) -> None:
    """And its preemption policy; without a class, priority 0."""
    await api.create(CLASS, priority_class("high", 1000, preemptionPolicy="Never"))
    high = await api.create(POD, pod_manifest("a", priorityClassName="high"))
    assert (high.spec.priority, high.spec.preemptionPolicy) == (1000, "Never")
    plain = await api.create(POD, pod_manifest("b"))
    assert (plain.spec.priority, plain.spec.preemptionPolicy, plain.spec.priorityClassName) == (0, "PreemptLowerPriority", "")
    node = await api.create(POD, pod_manifest("c", priorityClassName="system-node-critical"))
    assert node.spec.priority == 2_000_001_000


async def test_the_default_class_is_that_of_pods_without_one(api: Api) -> None:
    """Pods that exist keep what they have; there is one default."""
    await api.create(POD, pod_manifest("before"))
    await api.create(CLASS, priority_class("usual", 7, globalDefault=True))
    made = await api.create(POD, pod_manifest("after"))
    assert (made.spec.priorityClassName, made.spec.priority) == ("usual", 7)
    assert (await api.get(POD, "before")).spec.priority == 0
    with pytest.raises(errors.Forbidden, match="PriorityClass usual is already marked as default"):
        await api.create(CLASS, priority_class("other", 8, globalDefault=True))
    await api.create(CLASS, priority_class("other", 8))
    with pytest.raises(errors.Forbidden):
        await api.patch(CLASS, "other", "MERGE", {"globalDefault": True})
    await api.patch(CLASS, "usual", "MERGE", {"description": "as before"})
    await api.delete(CLASS, "usual")
    await api.patch(CLASS, "other", "MERGE", {"globalDefault": True})
    assert (await api.create(POD, pod_manifest("third"))).spec.priority == 8


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"priorityClassName": "none"}, "no PriorityClass with name none was found"),
        ({"priority": 5}, r"the integer value of priority \(5\) must not be provided in pod spec; .* computed 0 from"),
        ({"priorityClassName": "high", "priority": 5}, "computed 1000 from the given PriorityClass name"),
        (
            {"priorityClassName": "high", "preemptionPolicy": "Never"},
            r"the string value of PreemptionPolicy \(Never\) must not be",
        ),
    ],
)
async def test_a_pod_cannot_choose_its_priority(api: Api, spec: dict[str, Any], why: str) -> None:
    """Only a class; stating what the class gives is no error."""
    await api.create(CLASS, priority_class("high", 1000))
    with pytest.raises(errors.Forbidden, match=why):
        await api.create(POD, pod_manifest(**spec))
    await api.create(POD, pod_manifest(priorityClassName="high", priority=1000, preemptionPolicy="PreemptLowerPriority"))


async def test_updates_keep_the_priority(api: Api) -> None:
    """Of a manifest that says nothing of it, by PUT and by apply; a changed one is an error."""
    await api.create(CLASS, priority_class("usual", 7, globalDefault=True))
    # Without a volume that a PUT of the manifest would lack.
    manifest = pod_manifest(automountServiceAccountToken=False)
    await api.apply(manifest)
    labelled = copy.deepcopy(manifest)
    labelled["metadata"]["labels"] = {"a": "b"}
    await api.update(POD, labelled)
    [(outcome, _)] = await api.apply(manifest)
    assert outcome == "unchanged"
    found = await api.get(POD, "web")
    assert (found.spec.priority, found.spec.priorityClassName) == (7, "usual")
    with pytest.raises(errors.Invalid):
        await api.patch(POD, "web", "MERGE", {"spec": {"priority": 8}})


async def test_classes_are_selected_by_value(api: Api) -> None:
    """As in Kubernetes."""
    await api.create(CLASS, priority_class("usual", 7))
    found = await api.list(CLASS, fieldSelector="value=7")
    assert len(found.items) == 1
