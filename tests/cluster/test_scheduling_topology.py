"""Pods that wait for other pods: they are tried again when these are placed, leave or change."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane import conditions
from pinnace import codec, kinds
from tests.support.cluster import Cluster
from tests.support.objects import make, pod

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
ZONES = {"a1": "a", "a2": "a", "b1": "b"}


@pytest.fixture
async def zones(cluster: Cluster) -> Cluster:
    for name, zone in ZONES.items():
        await cluster.join(name, meta={"labels": {"kubernetes.io/hostname": name}})
        await cluster.change(kinds.NODE, name, lambda found, zone=zone: found.metadata.labels.update(zone=zone))
    return cluster


def term(app: str = "web", **rest: Any) -> dict[str, Any]:
    return {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": app}}, **rest}


def affine(kind: str, *terms: Any) -> dict[str, Any]:
    return {"affinity": {kind: {REQUIRED: list(terms)}}}


def labelled(name: str, app: str, **spec: Any) -> Any:
    return pod(name, meta={"labels": {"app": app}}, **spec)


def where(cluster: Cluster, name: str) -> str:
    return str(cluster.get(kinds.POD, name).spec.nodeName)


def message(cluster: Cluster, name: str) -> str:
    condition = conditions.find(cluster.get(kinds.POD, name).status, "PodScheduled")
    assert condition is not None
    return str(condition.message)


async def test_a_pod_follows_the_one_that_it_wants_to_be_near(zones: Cluster) -> None:
    """Which the scheduler places later, or a user binds."""
    await zones.create(labelled("db", "db", **affine("podAffinity", term())))
    assert message(zones, "db") == "0/3 nodes are available: 3 node(s) didn't match pod affinity rules."
    await zones.create(labelled("web", "web", nodeSelector={"zone": "b"}))
    assert where(zones, "db") == "b1"
    await zones.create(labelled("other", "db", **affine("podAffinity", term("cache"))))
    await zones.create(labelled("cache", "cache", nodeName="b1"))
    assert where(zones, "other") == "b1"


async def test_anti_affinity_of_any_node_of_a_domain_ends_with_its_pod(zones: Cluster) -> None:
    """The pod that leaves is on another node than the one which becomes free."""
    await zones.change(kinds.NODE, "b1", lambda found: setattr(found.spec, "unschedulable", True))
    await zones.create(labelled("web", "web", nodeName="a2", **affine("podAntiAffinity", term("db"))))
    await zones.change(kinds.NODE, "a2", lambda found: setattr(found.spec, "unschedulable", True))
    await zones.create(labelled("db", "db"))
    assert message(zones, "db") == (
        "0/3 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules, 2 node(s) were unschedulable."
    )
    await zones.delete(kinds.POD, "web", grace=0)
    assert where(zones, "db") == "a1"


async def test_a_pod_whose_labels_change_counts_by_the_new_ones(zones: Cluster) -> None:
    """As upstream: an update of a pod is a reason to try again."""
    await zones.create(labelled("web", "old", nodeName="b1"))
    await zones.create(labelled("db", "db", **affine("podAffinity", term())))
    assert where(zones, "db") == ""
    await zones.change(kinds.POD, "web", lambda found: found.metadata.labels.update(app="web"))
    assert where(zones, "db") == "b1"


async def test_pods_elsewhere_make_room_in_a_spread(zones: Cluster) -> None:
    """A fuller smallest domain lets the next one in, as does the end of a domain's last node."""
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    constraint["labelSelector"] = {"matchLabels": {"app": "web"}}
    await zones.create(labelled("there", "web", nodeName="a1"))
    even = {"topologySpreadConstraints": [{**constraint, "nodeAffinityPolicy": "Ignore"}], "nodeSelector": {"zone": "a"}}
    await zones.create(labelled("new", "web", **even))
    assert message(zones, "new") == (
        "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
        "2 node(s) didn't match pod topology spread constraints."
    )
    await zones.create(labelled("elsewhere", "web", nodeSelector={"zone": "b"}))
    assert where(zones, "new") in ("a1", "a2")
    await zones.create(labelled("late", "web", **even))
    assert where(zones, "late") == ""
    await zones.delete(kinds.NODE, "b1")
    assert where(zones, "late") in ("a1", "a2")


async def test_labels_of_namespaces_are_followed(zones: Cluster) -> None:
    """A namespaceSelector matches as soon as a namespace has the label."""
    await zones.create(make(kinds.NAMESPACE, "shop"))
    there = labelled("web", "web", nodeName="b1")
    there.metadata.namespace = "shop"
    await zones.create(there)
    selector = {"namespaceSelector": {"matchLabels": {"team": "b"}}}
    await zones.create(labelled("db", "db", **affine("podAffinity", term(**selector))))
    assert where(zones, "db") == ""
    await zones.change(kinds.NAMESPACE, "shop", lambda found: found.metadata.labels.update(team="b"))
    assert where(zones, "db") == "b1"


async def test_equal_pods_of_one_batch_see_each_other(zones: Cluster) -> None:
    """Two nodes in one zone and one in the other take one pod each by host name, and no fourth."""
    apart = affine("podAntiAffinity", term(topologyKey="kubernetes.io/hostname"))
    for number in range(4):
        await zones.create(labelled(f"web-{number}", "web", **apart))
    assert sorted(where(zones, f"web-{number}") for number in range(4)) == ["", "a1", "a2", "b1"]


@pytest.mark.shows(
    "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[].{matchLabelKeys,mismatchLabelKeys}"
)
@pytest.mark.shows("spec.topologySpreadConstraints[].matchLabelKeys")
async def test_label_keys_become_a_part_of_the_selectors(zones: Cluster) -> None:
    """With the values that the new pod has; keys that it does not have, and selectors that are absent, stay out."""
    keys = {"matchLabelKeys": ["app", "absent"], "mismatchLabelKeys": ["tier"]}
    near = {**term(), **keys, "labelSelector": {}}
    spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
    meta = {"labels": {"app": "web", "tier": "x"}}
    made = pod(
        "web", meta=meta, topologySpreadConstraints=[{**spread, "matchLabelKeys": ["app"]}], **affine("podAffinity", near)
    )
    await zones.create(made)
    spec = zones.get(kinds.POD, "web").spec
    selector = spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector
    same, other = ({"key": key, "operator": operator, "values": [value]} for key, operator, value in (
        ("app", "In", "web"), ("tier", "NotIn", "x"),
    ))  # fmt: skip
    assert codec.encode(selector) == {"matchExpressions": [same, other]}
    assert codec.encode(spec.topologySpreadConstraints[0].labelSelector) == {"matchExpressions": [same]}
