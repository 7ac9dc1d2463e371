"""Placement: filters, scores, order and the words of a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.scheduler import explain, podinfo, table
from controlplane.scheduler.placement import Decision, place, summary
from controlplane.scheduler.plugins import default_profile
from tests.support.objects import container, node, owned_by, pod

TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}


def decide(pods: list[Any], nodes: list[Any], placed: list[Any] = ()) -> list[Decision]:  # type: ignore[assignment]
    return place([podinfo.read(item) for item in pods], table.build(nodes, [podinfo.read(item) for item in placed]))


def refusal(subject: Any, *nodes: Any, placed: list[Any] = ()) -> str:  # type: ignore[assignment]
    [decision] = decide([subject], list(nodes), placed)
    assert decision.node == ""
    return decision.message


def chosen(subject: Any, *nodes: Any, placed: list[Any] = ()) -> str:  # type: ignore[assignment]
    return decide([subject], list(nodes), placed)[0].node


def asking(name: str = "web", **requests: str) -> Any:
    return pod(name, container(requests=requests))


def on(subject: Any, where: str) -> Any:
    subject.spec.nodeName = where
    return subject


def test_without_nodes_kubernetes_says_so() -> None:
    """Kubernetes' words for an empty cluster."""
    assert refusal(pod()) == "no nodes available to schedule pods"


def test_reasons_are_counted_over_nodes() -> None:
    """Each reason with the number of nodes that gave it."""
    nodes = [node("a", memory="1Gi"), node("b", memory="1Gi"), node("c", taints=[TAINT])]
    message = refusal(asking(memory="2Gi"), *nodes)
    assert message == "0/3 nodes are available: 1 node(s) had untolerated taint {k: v}, 2 Insufficient memory."


@pytest.mark.parametrize(
    ("subject", "where", "reason"),
    [
        (asking(cpu="5"), node(), "1 Insufficient cpu"),
        (asking(cpu="5", memory="9Gi"), node(), "1 Insufficient cpu, 1 Insufficient memory"),
        (asking(**{"ephemeral-storage": "1Ti"}), node(), "1 Insufficient ephemeral-storage"),
        (pod(), node(pods="0"), "1 Too many pods"),
        (pod(), node(unschedulable=True), "1 node(s) were unschedulable"),
        (pod(nodeSelector={"disk": "ssd"}), node(), "1 node(s) didn't match Pod's node affinity/selector"),
        (pod(), node(taints=[TAINT]), "1 node(s) had untolerated taint {k: v}"),
        (pod(), node(taints=[{"key": "k", "effect": "NoExecute"}]), "1 node(s) had untolerated taint {k: }"),
    ],
)
@pytest.mark.shows("spec.containers[].resources.requests")
def test_a_refusal_is_in_kubernetes_words(subject: Any, where: Any, reason: str) -> None:
    """People search for these texts."""
    assert refusal(subject, where) == f"0/1 nodes are available: {reason}."


def test_filtering_stops_at_the_first_filter_that_rejects_a_node() -> None:
    """A cordoned and full node counts once."""
    message = refusal(asking(cpu="9"), node("a", unschedulable=True, taints=[TAINT]), node("b"))
    assert message == "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable."


def test_what_is_placed_counts_against_a_node() -> None:
    """Requests of pods that run there are gone; exactly what is left fits."""
    there = [on(asking("a", cpu="3"), "n1")]
    assert refusal(asking(cpu="1001m"), node(), placed=there) == "0/1 nodes are available: 1 Insufficient cpu."
    assert chosen(asking(cpu="1"), node(), placed=there) == "n1"


def test_pods_of_one_batch_see_each_other() -> None:
    """Three pods of two cores do not go onto one node of four."""
    decisions = decide([asking(name, cpu="2") for name in "abc"], [node()])
    assert [item.node for item in decisions] == ["n1", "n1", ""]


def test_a_pod_that_asks_for_nothing_fits_a_node_over_its_capacity() -> None:
    """What is not asked for is not checked."""
    over = [on(asking("a", cpu="9"), "n1")]
    assert chosen(pod(), node(), placed=over) == "n1"


def test_init_containers_count_by_the_largest() -> None:
    """They run one at a time, before the others."""
    subject = pod("web", container(requests={"cpu": "1"}), container("b", requests={"cpu": "1"}), init=(
        container("i1", requests={"cpu": "3", "memory": "1Gi"}), container("i2", requests={"cpu": "2"}),
    ))  # fmt: skip
    assert podinfo.read(subject).requests == (3000, 1 << 30, 0, 1)


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        ({"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "k", "value": "other"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
@pytest.mark.shows("spec.tolerations[].{key,operator,value,effect}")
def test_tolerations_match_as_in_kubernetes(toleration: dict[str, str], fits: bool) -> None:
    """Equal by default; an empty key with Exists matches all; an effect narrows."""
    assert bool(chosen(pod(tolerations=[toleration]), node(taints=[TAINT]))) is fits


def test_a_cordoned_node_takes_pods_that_tolerate_it() -> None:
    """As DaemonSets do."""
    toleration = {"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}
    assert chosen(pod(tolerations=[toleration]), node(unschedulable=True)) == "n1"


@pytest.mark.shows("spec.nodeSelector")
def test_a_selector_needs_every_label() -> None:
    """All pairs of nodeSelector."""
    nodes = node("a", meta={"labels": {"disk": "ssd"}}), node("b", meta={"labels": {"disk": "ssd", "zone": "x"}})
    assert chosen(pod(nodeSelector={"disk": "ssd", "zone": "x"}), *nodes) == "b"


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
DISKS = [node("a", meta={"labels": {"disk": "hdd", "cores": "4"}}), node("b", meta={"labels": {"disk": "ssd", "cores": "16"}})]


def wanting(*terms: Any, **spec: Any) -> Any:
    return pod(affinity={"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": list(terms)}}}, **spec)


def expressions(*items: tuple[str, str, list[str]]) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": values} for key, operator, values in items]}


@pytest.mark.parametrize(
    ("terms", "where"),
    [
        ([expressions(("disk", "In", ["ssd", "nvme"]))], "b"),
        ([expressions(("disk", "NotIn", ["hdd"]))], "b"),
        ([expressions(("cores", "Gt", ["8"]))], "b"),
        ([expressions(("disk", "Exists", []), ("cores", "Lt", ["9"]))], "a"),
        ([expressions(("gpu", "Exists", [])), expressions(("cores", "In", ["16"]))], "b"),
        ([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}], "b"),
        ([{"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["a"]}]}], "b"),
        ([expressions(("gpu", "Exists", []))], ""),
        ([{}], ""),
    ],
)
@pytest.mark.shows(
    "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[]"
    ".matchExpressions[].{key,operator,values}"
)
@pytest.mark.shows(
    "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[].matchFields[]"
)
def test_required_node_affinity(terms: list[Any], where: str) -> None:
    """One of the terms must match; a node that none matches is rejected as by nodeSelector."""
    [decision] = decide([wanting(*terms)], DISKS)
    assert decision.node == where
    if not where:
        assert decision.message == "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."


def test_node_selector_and_affinity_must_both_match() -> None:
    """Each alone leaves another node."""
    assert chosen(wanting(expressions(("cores", "Exists", [])), nodeSelector={"disk": "ssd"}), *DISKS) == "b"
    assert chosen(wanting(expressions(("cores", "Lt", ["9"])), nodeSelector={"disk": "ssd"}), *DISKS) == ""


@pytest.mark.shows("spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[].{weight,preference}")
def test_preferred_node_affinity_adds_weights() -> None:
    """The larger sum of weights wins, also against more free room; a node without a match is taken where no other fits."""
    wide, narrow = node("wide", cpu="64"), node("narrow", cpu="5", meta={"labels": {"disk": "ssd"}})
    preferred = [{"weight": 60, "preference": expressions(("disk", "In", ["ssd"]))}]
    assert chosen(pod("web", affinity={"nodeAffinity": {PREFERRED: preferred}}), wide, narrow) == "narrow"
    contrary = [{"weight": 40, "preference": expressions(("disk", "DoesNotExist", []))} for _ in range(2)]
    assert chosen(pod("web", affinity={"nodeAffinity": {PREFERRED: preferred + contrary}}), wide, narrow) == "wide"
    assert chosen(pod("web", affinity={"nodeAffinity": {PREFERRED: preferred}}), wide) == "wide"


def test_preferences_compare_the_nodes_that_fit() -> None:
    """A slight preference counts in full where the better node cannot take the pod."""
    full = node("full", cpu="0", meta={"labels": {"disk": "ssd"}})
    roomy, tight = node("roomy", cpu="64"), node("tight", cpu="2", meta={"labels": {"disk": "hdd"}})
    preferred = [
        {"weight": 100, "preference": expressions(("disk", "In", ["ssd"]))},
        {"weight": 1, "preference": expressions(("disk", "In", ["hdd"]))},
    ]
    subject = pod("web", container(requests={"cpu": "1"}), affinity={"nodeAffinity": {PREFERRED: preferred}})
    assert chosen(subject, full, roomy, tight) == "tight"


def test_why_names_the_requirement_that_a_node_does_not_meet() -> None:
    """After the reason, for each term the first that fails."""
    subject = wanting(expressions(("cores", "Gt", ["8"])), expressions(("gpu", "Exists", [])))
    found = explain.verdicts(podinfo.read(subject), table.build(DISKS, []), default_profile())
    assert found[0].reasons == (
        "node(s) didn't match Pod's node affinity/selector (wants cores > 8, has cores=4; wants gpu, has no gpu)",
    )
    chosen_by_label = podinfo.read(pod(nodeSelector={"disk": "ssd"}))
    found = explain.verdicts(chosen_by_label, table.build(DISKS, []), default_profile())
    assert found[0].reasons == ("node(s) didn't match Pod's node affinity/selector (wants disk=ssd, has disk=hdd)",)


def test_the_emptier_node_is_preferred() -> None:
    """LeastAllocated, by share and not by amount."""
    assert chosen(asking(cpu="1"), node("a", cpu="2"), node("b", cpu="8")) == "b"
    busy = [on(asking("x", cpu="3", memory="6Gi"), "a")]
    assert chosen(pod("web", meta={"labels": {"app": "y"}}), node("a"), node("b"), placed=busy) == "b"


def test_pods_of_one_owner_are_spread() -> None:
    """Four replicas over two nodes: two each."""
    owner = pod("owner", meta={"uid": "u"})
    meta = {"ownerReferences": [owned_by(owner, controller=True)]}
    decisions = decide([pod(f"web-{n}", meta=meta) for n in range(4)], [node("a"), node("b")])
    assert sorted(item.node for item in decisions) == ["a", "a", "b", "b"]


def test_pods_with_the_same_labels_are_spread() -> None:
    """In one namespace, also onto the node with less room."""
    meta = {"labels": {"app": "web"}}
    decisions = decide([pod(f"web-{n}", meta=meta) for n in range(2)], [node("a", cpu="2"), node("b", cpu="64")])
    assert {item.node for item in decisions} == {"a", "b"}


def test_a_prefer_no_schedule_taint_is_a_last_resort() -> None:
    """It repels, and does not refuse."""
    shy = node("a", cpu="64", taints=[{**TAINT, "effect": "PreferNoSchedule"}])
    assert chosen(pod(), shy, node("b", cpu="2")) == "b"
    assert chosen(pod(), shy) == "a"


@pytest.mark.shows("spec.priority")
def test_priority_goes_before_age_and_age_before_name() -> None:
    """The order in which pods get what there is."""

    def aged(name: str, seconds: int, priority: int = 0) -> Any:
        subject = pod(name, container(requests={"cpu": "1"}), priority=priority)
        subject.metadata.creationTimestamp.seconds = seconds
        return subject

    pods = [aged("c", 5), aged("b", 5), aged("a", 9), aged("late", 99, priority=10)]
    decisions = decide(pods, [node(cpu="2")])
    assert [item.pod.key for item in decisions] == [f"default/{name}" for name in ("late", "b", "c", "a")]
    assert [bool(item.node) for item in decisions] == [True, True, False, False]


def test_equal_nodes_go_by_name() -> None:
    """So that a run can be repeated, whatever the order of the nodes."""
    assert chosen(pod(), node("b"), node("a"), node("c")) == "a"


def test_a_decision_counts_the_rejected_nodes() -> None:
    """By reason, with the filters that rejected them; details are computed when asked for."""
    [decision] = decide([asking(cpu="9")], [node("a", unschedulable=True), node("b"), node("c")])
    assert decision.rejected == {"node(s) were unschedulable": 1, "Insufficient cpu": 2}
    assert decision.plugins == {"NodeUnschedulable", "NodeResourcesFit"}
    [decision] = decide([pod()], [node("a", unschedulable=True), node("b")])
    assert (decision.nodes, decision.feasible) == (2, 1)


def test_each_node_is_explained_on_demand() -> None:
    """Reasons of the rejected and scores of the feasible nodes, as if the pod were not placed."""
    nodes = table.build([node("b", cpu="1"), node("a", unschedulable=True)], [])
    subject = podinfo.read(asking(cpu="1"))
    assert place([subject], nodes)[0].node == "b"
    rejected, feasible = explain.verdicts(subject, nodes, default_profile())
    assert (rejected.node, rejected.reasons, rejected.scores) == ("a", ("node(s) were unschedulable",), None)
    assert (feasible.node, feasible.reasons) == ("b", ())
    assert feasible.scores is not None
    assert set(feasible.scores) == {item.name for item in default_profile().scores}
    assert all(0 <= score <= 300 for score in feasible.scores.values())
    assert nodes.pod(subject.key) == subject.on("b")


def test_many_different_taints_are_summed() -> None:
    """A message names some of them; the rest is one number."""
    nodes = [node(f"n{i}", taints=[{"key": f"k{i}", "effect": "NoSchedule"}]) for i in range(30)]
    message = refusal(pod(), *nodes)
    assert "10 node(s) had other untolerated taints" in message
    assert message.count("1 node(s) had untolerated taint") == 20


def test_a_summary_counts_every_reason() -> None:
    """More reasons than nodes are possible."""
    told = summary({"Insufficient cpu": 2, "Too many pods": 1}, 5)
    assert told == "0/5 nodes are available: 1 Too many pods, 2 Insufficient cpu."


CORES = st.integers(1, 8)


@given(st.lists(CORES, max_size=4), st.lists(st.tuples(CORES, st.integers(0, 2)), max_size=12))
def test_no_node_is_ever_overcommitted(sizes: list[int], asked: list[tuple[int, int]]) -> None:
    """Whatever the pods and nodes; and a refused pod would not have fitted where the batch left off."""
    nodes = [node(f"n{i}", cpu=str(size)) for i, size in enumerate(sizes)]
    pods = [
        pod(f"p{i}", container(requests={"cpu": str(cores)}), priority=priority) for i, (cores, priority) in enumerate(asked)
    ]
    decisions = decide(pods, nodes)
    free = dict(zip((item.metadata.name for item in nodes), sizes, strict=True))
    for decision in decisions:
        cores = decision.pod.requests[0] // 1000
        if decision.node:
            free[decision.node] -= cores
        else:
            assert all(left < cores for left in free.values())
    assert all(left >= 0 for left in free.values())


def claiming(name: str, port: dict[str, Any]) -> Any:
    return pod(name, container(ports=[{"containerPort": 80, **port}]))


@pytest.mark.parametrize(
    ("held", "wanted", "fits"),
    [
        ({"hostPort": 80}, {"hostPort": 80}, False),
        ({"hostPort": 80}, {"hostPort": 81}, True),
        ({"hostPort": 80}, {"hostPort": 80, "protocol": "UDP"}, True),
        ({"hostPort": 80, "hostIP": "192.0.2.1"}, {"hostPort": 80, "hostIP": "192.0.2.2"}, True),
        ({"hostPort": 80, "hostIP": "192.0.2.1"}, {"hostPort": 80}, False),
        ({"hostPort": 80, "hostIP": "0.0.0.0"}, {"hostPort": 80, "hostIP": "192.0.2.2"}, False),
        ({}, {"hostPort": 80}, True),
    ],
)
def test_a_host_port_is_had_once_on_a_node(held: dict[str, Any], wanted: dict[str, Any], fits: bool) -> None:
    """By address and protocol; an unspecified address stands for all."""
    first, second = decide([claiming("a", held), claiming("b", wanted)], [node("n1")])
    assert first.node == "n1"
    assert (second.node == "n1") == fits
    if not fits:
        assert second.message == "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
