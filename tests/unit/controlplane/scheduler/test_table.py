"""The node table: after any changes it equals a table that is built from scratch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.scheduler import arrays as np
from controlplane.scheduler import podinfo, table
from controlplane.scheduler.clusterevent import ClusterEvent
from controlplane.scheduler.nodeinfo import NodeInfo
from controlplane.scheduler.podinfo import LIMIT, PodInfo
from controlplane.scheduler.podselectors import Part, PodSelector
from controlplane.scheduler.rowcounts import MAX_ARRAYS, RowCounts
from controlplane.scheduler.table import NodeTable
from tests.support.objects import container, pod
from tests.unit.controlplane.scheduler import clusters

# Names of nodes and keys of pods are removals.
changes = st.one_of(
    clusters.nodes,
    clusters.pods((*clusters.NODES, "elsewhere")),
    st.sampled_from(clusters.NODES),
    st.sampled_from(clusters.PODS),
)


def apply(subject: NodeTable, change: NodeInfo | PodInfo | str) -> None:
    if isinstance(change, NodeInfo):
        subject.set_node(change)
    elif isinstance(change, PodInfo):
        subject.add_pod(change)
    elif "/" in change:
        subject.remove_pod(change)
    else:
        subject.remove_node(change)


def content(subject: NodeTable) -> dict[str, Any]:
    """Everything that plugins may read, by the name of the node instead of its row."""
    rows = {name: row for row, name in enumerate(subject.names) if name}
    assert len(rows) == len(subject) == int(subject.alive.sum())

    def counts(found: RowCounts) -> dict[Any, dict[str, int]]:
        named = {key: {subject.names[row]: count for row, count in by.items()} for key, by in found.snapshot().items()}
        for key, by in found.snapshot().items():
            array = found.of(key)
            assert array is not None
            assert {int(row): int(array[row]) for row in np.flatnonzero(array)} == by
        return named

    columns = {
        name: (
            [column[row] for column in subject.free],
            [column[row] for column in subject.idle],
            [column[row] for column in subject.inverse],
            bool(subject.unschedulable[row]),
            int(subject.rank[row]),
            subject.taint_sets._sets[subject.taint_set[row]],
        )
        for name, row in rows.items()
    }
    for key in clusters.KEYS:
        column = subject.labels.of(key)
        found = {row: column.values[number] for row, number in enumerate(column.numbers) if number}
        assert found == {row: labels[key] for row, labels in subject.labels.snapshot().items() if key in labels}
    every = subject.pods.number(PodSelector((Part(frozenset(clusters.NAMESPACES), None, ()),)))
    assert subject.pods._counts.rows(every) == _summed(subject.pods.snapshot().values())
    sets = {key: {subject.names[row]: count for row, count in by.items()} for key, by in subject.pods.snapshot().items()}
    terms = [
        {term: {subject.names[row]: count for row, count in by.items()} for term, by in held.snapshot().items()}
        for held in (subject.anti_affinity, subject.attraction)
    ]
    labels = {subject.names[row]: dict(found) for row, found in subject.labels.snapshot().items()}
    parts = [labels, sets, *terms, *(counts(part) for part in (subject.host_ports, subject.groups))]
    return {"columns": columns, "counts": parts, "cordoned": subject.cordoned, "tainted": subject.taint_sets.tainted}


def _summed(parts: Iterable[Mapping[int, int]]) -> dict[int, int]:
    found: Counter[int] = Counter()
    for part in parts:
        found.update(part)
    return dict(found)


@given(st.lists(changes, max_size=40), st.booleans())
def test_a_table_that_followed_changes_equals_one_built_from_scratch(steps: list[Any], used: bool) -> None:
    """Rows are reused and arrays grow; counts and columns are those of the nodes and pods that remain."""
    followed = NodeTable(capacity=1)
    nodes: dict[str, NodeInfo] = {}
    pods: dict[str, PodInfo] = {}
    for step in steps:
        apply(followed, step)
        if used:
            content(followed)
        if isinstance(step, NodeInfo):
            nodes[step.name] = step
        elif isinstance(step, PodInfo):
            pods[step.key] = step
        else:
            (pods if "/" in step else nodes).pop(step, None)
    built = NodeTable()
    for info in [*nodes.values(), *pods.values()]:
        apply(built, info)
    assert content(followed) == content(built)


def test_sums_of_many_huge_pods_do_not_overflow() -> None:
    """Ten thousand pods that each request more than 64 bits hold; all room is back when they are gone."""
    subject = NodeTable()
    subject.set_node(NodeInfo("n1", (4000, 8 << 30, 0, 110)))
    infos = [podinfo.read(pod(f"p{i}", container(requests={"memory": "16Ei", "cpu": "1e17"}))).on("n1") for i in range(10_000)]
    for info in infos:
        subject.add_pod(info)
        assert subject.free[1][0] < 0
    assert [column[0] for column in subject.free][:2] == [-LIMIT, -LIMIT]
    for info in infos:
        subject.remove_pod(info.key)
    assert [column[0] for column in subject.free] == [4000, 8 << 30, 0, 110]


@pytest.mark.parametrize(
    ("after", "event"),
    [
        (NodeInfo("n1", (1, 1, 1, 1)), ClusterEvent.NONE),
        (NodeInfo("n1", (2, 1, 1, 1)), ClusterEvent.UPDATE_NODE_ALLOCATABLE),
        (NodeInfo("n1", (0, 1, 1, 1)), ClusterEvent.NONE),
        (NodeInfo("n1", (1, 1, 1, 1), unschedulable=True), ClusterEvent.UPDATE_NODE_TAINT),
        (NodeInfo("n1", (1, 1, 1, 1), labels=frozenset({("a", "b")})), ClusterEvent.UPDATE_NODE_LABEL),
        (NodeInfo("n2", (1, 1, 1, 1)), ClusterEvent.NODE_ADD),
    ],
)
def test_a_change_of_a_node_names_what_it_may_help(after: NodeInfo, event: ClusterEvent) -> None:
    """Less room helps no pod; a heartbeat changes nothing."""
    subject = NodeTable()
    subject.set_node(NodeInfo("n1", (1, 1, 1, 1)))
    assert subject.set_node(after) == event


def test_pods_on_a_node_that_comes_later_count() -> None:
    """A binding may be seen before its node, and the node may come back."""
    subject = NodeTable()
    subject.add_pod(PodInfo("default/web", "u", (1000, 0, 0, 1), node="n1"))
    for _ in range(2):
        subject.set_node(NodeInfo("n1", (4000, 0, 0, 10)))
        assert [column[0] for column in subject.free] == [3000, 0, 0, 9]
        subject.remove_node("n1")
    subject.remove_pod("default/web")
    assert not subject._nodes


def test_arrays_are_kept_for_some_keys_only() -> None:
    """Ten thousand groups of pods do not each take an array over all nodes."""
    counts = RowCounts(8)
    for key in range(10_000):
        counts.add(key, key % 8, 1)
        assert counts.of(key) is not None
    assert len(counts._arrays) == MAX_ARRAYS


def test_numbers_of_taint_sets_are_reused() -> None:
    """A taint whose value changes all the time leaves nothing behind, and verdicts stay right."""
    subject = NodeTable()
    for number in range(500):
        subject.set_node(NodeInfo("n1", (1, 1, 1, 1), taints=(table.nodeinfo.Taint("k", str(number), "NoSchedule"),)))
        tolerated = podinfo.Toleration("k", "Equal", str(number - number % 2), "")
        verdicts = subject.taint_sets.verdicts((tolerated,))
        assert bool(verdicts.blocking[subject.taint_set[0]]) == bool(number % 2)
    assert len(subject.taint_sets._sets) < 100


def test_verdicts_are_kept_within_bounds() -> None:
    """Pods with tens of thousands of tolerations leave little behind."""
    sets = table.TaintSets()
    for number in range(300):
        sets.verdicts(tuple(podinfo.Toleration(f"k{number}-{place}", "Exists", "", "") for place in range(500)))
    assert len(sets._verdicts) == 100
    assert sets._kept == 50_000
    for number in range(300):
        sets.verdicts((podinfo.Toleration(f"k{number}", "Exists", "", ""),))
    assert (len(sets._verdicts), sets._kept) == (128, 128)
