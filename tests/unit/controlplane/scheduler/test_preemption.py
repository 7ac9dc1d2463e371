"""The pods that make room for a more important one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.scheduler import nodeinfo, podinfo, preemption, table
from controlplane.scheduler.arrays import Mask
from controlplane.scheduler.cache import Cache
from controlplane.scheduler.clusterevent import ClusterEvent
from controlplane.scheduler.nodeinfo import NodeInfo
from controlplane.scheduler.nominations import MAX_PODS, Nominations
from controlplane.scheduler.placement import feasible
from controlplane.scheduler.plugins import default_profile
from controlplane.scheduler.podinfo import PodInfo
from controlplane.scheduler.preemption import Budget, Preemption, preempt
from controlplane.scheduler.table import NodeTable
from pinnace.selectors import Requirement
from tests.support.objects import container, node, pod
from tests.unit.controlplane.scheduler import clusters
from tests.unit.controlplane.scheduler.test_table import content

PROFILE = default_profile()


def asking(name: str, priority: int = 0, *, cpu: str = "1", on: str = "", created: int = 0, app: str = "x", **spec: Any) -> Any:
    where = {"nodeName": on} if on else {}
    meta = {"labels": {"app": app}}
    made = pod(name, container(requests={"cpu": cpu}), meta=meta, priority=priority, **where, **spec)
    made.metadata.creationTimestamp.seconds = created
    return made


def preempted(subject: Any, nodes: list[Any], placed: list[Any], budgets: tuple[Budget, ...] = ()) -> tuple[str, list[str]]:
    """The node and the names of the victims; empty without a preemption."""
    found = preempt(podinfo.read(subject), table.build(nodes, [podinfo.read(item) for item in placed]), PROFILE, budgets)
    return ("", []) if found is None else (found.node, [item.key.partition("/")[2] for item in found.victims])


def test_the_fewest_and_least_important_pods_go() -> None:
    """Two of one core for a pod of two, and neither the more important nor the older of equal ones."""
    there = [
        asking("a", 5, on="n1"),
        asking("b", 1, on="n1", created=1),
        asking("c", 1, on="n1", created=2),
        asking("d", 0, on="n1"),
    ]
    assert preempted(asking("new", 9, cpu="2"), [node()], there) == ("n1", ["c", "d"])
    assert preempted(asking("new", 9, cpu="3"), [node()], there) == ("n1", ["b", "c", "d"])


@pytest.mark.parametrize(
    ("subject", "spec"),
    [
        (asking("new", 5, cpu="4"), {}),
        (asking("new", 9, cpu="5"), {}),
        (asking("new", 9, cpu="4", nodeSelector={"disk": "ssd"}), {}),
        (asking("new", 9, cpu="4"), {"unschedulable": True}),
        (asking("new", 9, cpu="4"), {"taints": [{"key": "k", "effect": "NoSchedule"}]}),
    ],
)
def test_nothing_goes_where_it_does_not_help(subject: Any, spec: dict[str, Any]) -> None:
    """Equal priority, a node that is too small, and whatever pods have no part in."""
    assert preempted(subject, [node(**spec)], [asking("a", 5, on="n1")]) == ("", [])


def test_the_node_with_the_least_damage_is_chosen() -> None:
    """By the highest priority, then the sum, the number, and the youngest pods."""
    nodes = [node(name, cpu="2") for name in ("a", "b", "c")]
    full = [
        asking("a1", 3, cpu="2", on="a"),
        asking("b1", 2, on="b"),
        asking("b2", 2, on="b"),
        asking("c1", 2, cpu="2", on="c"),
    ]
    assert preempted(asking("new", 9, cpu="2"), nodes, full) == ("c", ["c1"])
    equal = [
        asking("a1", 1, cpu="2", on="a", created=1),
        asking("b1", 1, cpu="2", on="b", created=9),
        asking("c1", 2, cpu="2", on="c"),
    ]
    assert preempted(asking("new", 9, cpu="2"), nodes, equal) == ("b", ["b1"])


def test_a_budget_is_spared_where_it_can_be() -> None:
    """On another node, and among the pods of one node; not where there is no other way."""
    budget = Budget("default", (Requirement("app", "In", ("db",)),), 0)
    nodes = [node(name, cpu="2") for name in ("a", "b")]
    there = [asking("a1", 1, cpu="2", on="a", app="db"), asking("b1", 5, cpu="2", on="b")]
    assert preempted(asking("new", 9, cpu="2"), nodes, there) == ("a", ["a1"])
    assert preempted(asking("new", 9, cpu="2"), nodes, there, (budget,)) == ("b", ["b1"])
    mixed = [asking("db", 1, on="a", app="db"), asking("web", 5, on="a")]
    assert preempted(asking("new", 9), nodes[:1], mixed, (budget,)) == ("a", ["web"])
    assert preempted(asking("new", 9, cpu="2"), nodes[:1], mixed, (budget,)) == ("a", ["web", "db"])


def test_other_causes_than_resources_end_with_their_pods() -> None:
    """A host port and anti-affinity."""
    port = {"ports": [{"containerPort": 80, "hostPort": 80}]}
    there = pod("a", container(**port), nodeName="n1")
    assert preempted(pod("new", container(**port), priority=1), [node()], [there, asking("b", on="n1")]) == ("n1", ["a"])
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    term = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "db"}}}
    apart = {"affinity": {"podAntiAffinity": {required: [term]}}}
    zone = node(meta={"labels": {"zone": "z"}})
    assert preempted(asking("new", 1, **apart), [zone], [asking("a", on="n1", app="db"), asking("b", on="n1")]) == ("n1", ["a"])


def test_a_node_is_found_among_many_where_nothing_can_be_done() -> None:
    """Pods on the others are as important, or the cause is another that removing pods does not end."""
    nodes = [node(f"n{number:03}", cpu="2") for number in range(preemption.MAX_NODES + 60)]
    there = [asking(f"p{number:03}", 9, cpu="2", on=f"n{number:03}") for number in range(len(nodes) - 1)]
    last = asking("last", 1, cpu="2", on=nodes[-1].metadata.name)
    assert preempted(asking("new", 9, cpu="2"), nodes, [*there, last]) == (nodes[-1].metadata.name, ["last"])


placed = st.lists(clusters.pods(clusters.NODES), max_size=6, unique_by=lambda info: info.key)
budgets = st.lists(
    st.builds(Budget, st.just("default"), st.sampled_from((None, (), (Requirement("app", "In", ("x",)),))), st.integers(0, 2)),
    max_size=2,
)


@settings(max_examples=200)
@given(st.lists(clusters.nodes, max_size=4, unique_by=lambda info: info.name), placed, clusters.pods(("",)), budgets)
def test_victims_are_enough_and_none_too_many(
    nodes: list[NodeInfo], there: list[PodInfo], waiting: PodInfo, limits: list[Budget]
) -> None:
    """Without them the pod fits, with one of them it does not; the table is as it was."""
    made = NodeTable(1)
    for info in nodes:
        made.set_node(info)
    for item in there:
        made.add_pod(item)
    made.remove_pod(waiting.key)
    before = content(made)
    found = preempt(waiting, made, PROFILE, limits)
    assert content(made) == before
    if found is not None:
        _enough(found, waiting, made)


def _enough(found: Preemption, waiting: PodInfo, made: NodeTable) -> None:
    row = made.row(found.node)

    def fits() -> bool:
        return bool(feasible(waiting, made, PROFILE, slice(row, row + 1)).any())

    assert found.victims
    assert all(item.priority < waiting.priority and item.node == found.node for item in found.victims)
    assert not fits()
    for item in found.victims:
        made.remove_pod(item.key)
    assert fits()
    for item in found.victims:
        made.add_pod(item)
        assert not fits()
        made.remove_pod(item.key)


class Counted:
    """A filter that rejects nothing and counts how often it runs for one node."""

    name = "Counted"
    wide = False
    resolvable = True
    events = ClusterEvent.NONE

    def __init__(self) -> None:
        self.calls = 0

    def rejects(self, pod: PodInfo, table: NodeTable, rows: slice) -> Mask | None:
        self.calls += rows.stop - rows.start == 1
        return None

    def reasons(self, pod: PodInfo, table: NodeTable, rows: slice) -> dict[str, Mask]:
        return {}


@pytest.mark.parametrize(("terms", "cost"), [(1, 1), (200, 11)])
def test_a_preemption_is_bounded(terms: int, cost: int) -> None:
    """In checks, of which one costs more for a pod with many terms: nothing else runs meanwhile."""
    nodes, each = 20, 60
    found = [{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": f"a{at}"}}} for at in range(terms)]
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": found}}
    placed = [asking(f"p{at}-{number}", cpu="60m", on=f"n{at}") for at in range(nodes) for number in range(each)]
    rows = table.build([node(f"n{at}") for at in range(nodes)], [podinfo.read(item) for item in placed])
    counted = Counted()
    profile = dataclasses.replace(PROFILE, filters=(counted, *PROFILE.filters))
    chosen = preempt(podinfo.read(asking("new", 9, cpu="450m", affinity=apart)), rows, profile, ())
    assert chosen is not None
    assert len(chosen.victims) == 1
    assert counted.calls * cost <= preemption.MAX_CHECKS + cost * (each + 1)


def test_filters_do_not_run_once_no_node_is_left() -> None:
    """Those that compare domains are the last ones, and cost most."""
    rows = table.build([node("n1"), node("n2")], [])
    counted = Counted()
    profile = dataclasses.replace(PROFILE, filters=(*PROFILE.filters, counted))
    assert not feasible(podinfo.read(asking("new", cpu="100")), rows, profile, slice(0, 1)).any()
    assert counted.calls == 0
    assert feasible(podinfo.read(asking("new")), rows, profile, slice(0, 1)).any()
    assert counted.calls == 1


def test_nodes_that_go_during_a_search_are_passed_over() -> None:
    """It has a step for each node, and the table is as others left it."""
    rows = table.build(
        [node("n1"), node("n2")], [podinfo.read(asking(f"p{at}", cpu="4", on=f"n{at}", priority=at)) for at in (1, 2)]
    )
    steps = preemption.search(podinfo.read(asking("new", 9, cpu="4")), rows, PROFILE, ())
    next(steps)
    rows.remove_pod("default/p1")
    rows.remove_node("n1")
    next(steps)
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value.node == "n2"


def test_an_event_during_a_search_in_vain_lets_the_next_one_try_again() -> None:
    """Else a pod for which no preemption helped would wait for one more event."""
    cache = Cache(PROFILE)
    for name in ("n1", "n2"):
        cache.table.set_node(nodeinfo.read(node(name)))
        cache.table.add_pod(podinfo.read(asking(f"on-{name}", cpu="4", on=name)))
    waiting = podinfo.read(asking("new", 9, cpu="5"))
    for during in (True, False):
        steps = cache.preempt(waiting, lambda: ())
        if during:
            next(steps)
            cache._forget_rejections()
        assert list(steps) is not None
        assert bool(cache.hopeless) != during


def test_nominations_are_limited() -> None:
    """Each placement counts all of them; a pod that is nominated already may change its node."""
    found = Nominations()
    for number in range(MAX_PODS + 5):
        found.set(podinfo.read(asking(f"p{number}")), "n1")
    assert found.is_full
    assert found.node(f"default/p{MAX_PODS}") == ""
    found.set(podinfo.read(asking("p0")), "n2")
    assert found.node("default/p0") == "n2"
    found.remove("default/p0")
    assert not found.is_full
