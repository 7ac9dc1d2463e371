"""Affinity between pods and topology spread, from the pods' fields to the node that is chosen."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.scheduler import podinfo, table
from controlplane.scheduler.placement import Decision, place
from tests.support.objects import node, pod

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
NAMESPACES = {"default": {"team": "a"}, "shop": {"team": "b"}}
WEB = {"matchLabels": {"app": "web"}}
DB = {"matchLabels": {"app": "db"}}


def nodes() -> list[Any]:
    """Two zones of two nodes, and a node in none."""
    zones = {"a1": "a", "a2": "a", "b1": "b", "b2": "b"}
    made = [node(name, meta={"labels": {"kubernetes.io/hostname": name, "zone": zone}}) for name, zone in zones.items()]
    return [*made, node("x", cpu="64", meta={"labels": {"kubernetes.io/hostname": "x"}})]


def labelled(name: str, app: str, *, on: str = "", namespace: str = "default", **spec: Any) -> Any:
    where = {"nodeName": on} if on else {}
    return pod(name, namespace=namespace, meta={"labels": {"app": app}}, **where, **spec)


def term(selector: dict[str, Any] | None = WEB, *, key: str = "zone", **rest: Any) -> dict[str, Any]:
    return {"topologyKey": key, **({"labelSelector": selector} if selector is not None else {}), **rest}


def near(*terms: Any) -> dict[str, Any]:
    return {"affinity": {"podAffinity": {REQUIRED: list(terms)}}}


def apart(*terms: Any) -> dict[str, Any]:
    return {"affinity": {"podAntiAffinity": {REQUIRED: list(terms)}}}


def decide(subject: Any, *there: Any) -> Decision:
    made = table.build(nodes(), [podinfo.read(item) for item in there])
    for name, labels in NAMESPACES.items():
        made.pods.set_namespace(name, labels)
    return place([podinfo.read(subject)], made)[0]


def possible(subject: Any, *there: Any) -> set[str]:
    """All nodes that a pod fits on."""
    rejecting, found = [*there], set[str]()
    while node_name := decide(subject, *rejecting).node:
        found.add(node_name)
        # The node is full from now on.
        rejecting.append(
            pod(f"full-{node_name}", {"name": "c", "image": "x", "resources": {"requests": {"cpu": "64"}}}, nodeName=node_name)
        )
    return found


def asking(subject: Any) -> Any:
    subject.spec.containers[0].resources.requests["cpu"].string = "1"
    return subject


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ([term()], {"a1", "a2"}),
        ([term(key="kubernetes.io/hostname")], {"a1"}),
        ([term(), term(DB)], set()),
        ([term({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]})], {"a1", "a2", "b1", "b2"}),
        ([term({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]})], {"b1", "b2"}),
        ([term({})], {"a1", "a2", "b1", "b2"}),
        ([term(None)], set()),
        ([term(namespaces=["shop"])], {"b1", "b2"}),
        ([term(namespaceSelector={"matchLabels": {"team": "b"}})], {"b1", "b2"}),
        ([term(namespaceSelector={})], {"a1", "a2", "b1", "b2"}),
        ([term(namespaces=["default"], namespaceSelector={"matchExpressions": [{"key": "team", "operator": "Exists"}]})],
         {"a1", "a2", "b1", "b2"}),
        ([term(key="rack")], set()),
    ],
)  # fmt: skip
@pytest.mark.shows(
    "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[]"
    ".{labelSelector,topologyKey,namespaces,namespaceSelector}"
)
@pytest.mark.shows(
    "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[].labelSelector.{matchLabels,matchExpressions}"
)
@pytest.mark.shows(
    "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[]"
    ".labelSelector.matchExpressions[].{key,operator,values}"
)
def test_required_affinity(terms: list[Any], expected: set[str]) -> None:
    """Nodes of the domains in which the pods that all terms mean are."""
    there = [labelled("w", "web", on="a1"), labelled("d", "db", on="b1"), labelled("s", "web", on="b2", namespace="shop")]
    assert possible(asking(labelled("new", "other", **near(*terms))), *there) == expected


def test_a_refusal_for_affinity_is_in_kubernetes_words() -> None:
    """Each of three reasons."""
    assert decide(labelled("new", "other", **near(term()))).message == (
        "0/5 nodes are available: 5 node(s) didn't match pod affinity rules."
    )
    crowd = [labelled(f"w{name}", "web", on=name) for name in ("a1", "a2", "b1", "b2", "x")]
    assert decide(labelled("new", "other", **apart(term(key="kubernetes.io/hostname"))), *crowd).message == (
        "0/5 nodes are available: 5 node(s) didn't match pod anti-affinity rules."
    )
    shy = [
        labelled(f"s{name}", "shy", on=name, **apart(term(DB, key="kubernetes.io/hostname")))
        for name in ("a1", "a2", "b1", "b2", "x")
    ]
    assert decide(labelled("new", "db"), *shy).message == (
        "0/5 nodes are available: 5 node(s) didn't satisfy existing pods anti-affinity rules."
    )


def test_the_first_pod_of_a_group_needs_no_other() -> None:
    """A pod that means itself may be the first, on a node that has a domain; the next one follows it."""
    first = asking(labelled("new", "web", **near(term())))
    assert possible(first) == {"a1", "a2", "b1", "b2"}
    assert possible(first, labelled("w", "web", on="b1")) == {"b1", "b2"}


@pytest.mark.shows("spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[]")
def test_required_anti_affinity_holds_in_both_directions() -> None:
    """A pod keeps away from those that it means, and stays away from those that mean it; a node without a domain is free."""
    assert possible(asking(labelled("new", "db", **apart(term()))), labelled("w", "web", on="a1")) == {"b1", "b2", "x"}
    shy = labelled("s", "shy", on="a1", **apart(term(DB)))
    assert possible(asking(labelled("new", "db")), shy) == {"b1", "b2", "x"}
    assert possible(asking(labelled("new", "web")), shy) == {"a1", "a2", "b1", "b2", "x"}


@pytest.mark.parametrize(("kind", "zone"), [("podAffinity", "a"), ("podAntiAffinity", "b")])
@pytest.mark.shows("spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[].{weight,podAffinityTerm}")
@pytest.mark.shows("spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[]")
def test_preferred_terms_score(kind: str, zone: str) -> None:
    """Near or apart where both fit, by the pod's own terms and by those of a pod that is there."""
    weighted = {"affinity": {kind: {PREFERRED: [{"weight": 100, "podAffinityTerm": term()}]}}}
    choice = {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [expression("zone", "a", "b")]}}}}
    own = labelled("new", "new", affinity={**weighted["affinity"], **choice["affinity"]})
    assert decide(own, labelled("w", "web", on="a1")).node.startswith(zone)
    meant = labelled("new", "web", **choice)
    assert decide(meant, labelled("holder", "old", on="a1", **weighted)).node.startswith(zone)


def expression(key: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": "In", "values": list(values)}]}


def spread(*, skew: int = 1, key: str = "zone", action: str = "DoNotSchedule", **rest: Any) -> dict[str, Any]:
    return {"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": action, "labelSelector": WEB, **rest}


WEBS = [labelled(f"w{number}", "web", on=name) for number, name in enumerate(("a1", "a2", "b1"))]


@pytest.mark.parametrize(
    ("constraint", "spec", "expected"),
    [
        (spread(), {}, {"b1", "b2"}),
        (spread(skew=2), {}, {"a1", "a2", "b1", "b2"}),
        (spread(key="kubernetes.io/hostname"), {}, {"b2", "x"}),
        (spread(minDomains=3), {}, set()),
        (spread(skew=3, minDomains=3), {}, {"a1", "a2", "b1", "b2"}),
        (spread(), {"nodeSelector": {"zone": "a"}}, {"a1", "a2"}),
        (spread(nodeAffinityPolicy="Ignore"), {"nodeSelector": {"zone": "a"}}, set()),
        (spread(labelSelector=DB), {}, {"a1", "a2", "b1", "b2"}),
    ],
)
@pytest.mark.shows(
    "spec.topologySpreadConstraints[].{maxSkew,topologyKey,whenUnsatisfiable,labelSelector,minDomains,nodeAffinityPolicy}"
)
def test_pods_are_spread_over_domains(constraint: dict[str, Any], spec: dict[str, Any], expected: set[str]) -> None:
    """The pods of a domain exceed those of the smallest by maxSkew at most; too few domains count as an empty one."""
    subject = asking(labelled("new", "web", topologySpreadConstraints=[constraint], **spec))
    assert possible(subject, *WEBS) == expected


def test_a_refusal_for_a_spread_is_in_kubernetes_words() -> None:
    """A node without the label has a reason of its own."""
    constraint = spread(minDomains=3)
    assert decide(labelled("new", "web", topologySpreadConstraints=[constraint]), *WEBS).message == (
        "0/5 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label), "
        "4 node(s) didn't match pod topology spread constraints."
    )


@pytest.mark.shows("spec.topologySpreadConstraints[].nodeTaintsPolicy")
def test_tainted_nodes_are_left_out_of_a_spread_on_demand() -> None:
    """Ignore, the default, counts their empty domain, into which the pod cannot go."""
    taint = [{"key": "k", "effect": "NoSchedule"}]
    cluster = [
        node("a", meta={"labels": {"zone": "a"}}),
        node("b", meta={"labels": {"zone": "b"}}, taints=taint),
    ]
    there = [podinfo.read(labelled("w", "web", on="a"))]
    for policy, where in (("Ignore", ""), ("Honor", "a")):
        constraint = spread(nodeTaintsPolicy=policy)
        subject = podinfo.read(labelled("new", "web", topologySpreadConstraints=[constraint]))
        assert place([subject], table.build(cluster, there))[0].node == where


def test_schedule_anyway_prefers_the_emptier_domain() -> None:
    """And takes another where it must."""
    constraint = spread(action="ScheduleAnyway")
    assert decide(labelled("new", "web", topologySpreadConstraints=[constraint]), *WEBS).node in ("b1", "b2")
    anywhere = labelled("new", "web", topologySpreadConstraints=[constraint], nodeSelector={"zone": "a"})
    assert decide(anywhere, *WEBS).node in ("a1", "a2")


def test_terminating_pods_count_for_affinity_and_not_for_a_spread() -> None:
    """Their room is free soon; they are still where they are."""
    leaving = labelled("w", "web", on="a1")
    leaving.metadata.deletionTimestamp.seconds = 1
    even = asking(labelled("new", "web", topologySpreadConstraints=[spread()]))
    assert possible(even, leaving) == {"a1", "a2", "b1", "b2"}
    assert possible(asking(labelled("new", "db", **apart(term()))), leaving) == {"b1", "b2", "x"}
