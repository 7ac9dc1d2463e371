"""The algebra of field sets against plain sets of paths."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.requests import fieldsets
from controlplane.requests.fieldsets import FieldSet, Path

ELEMENTS = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', "v:1"])
PATHS = st.sets(st.lists(ELEMENTS, min_size=1, max_size=3).map(tuple), max_size=8)


def build(paths: set[Path]) -> FieldSet:
    """Written out naively: a member that has something below it gets a `.`."""
    out: FieldSet = {}
    for path in paths:
        node = out
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}
    return fieldsets.from_fields_v1(fieldsets.to_fields_v1(out))


def paths_of(node: FieldSet) -> set[Path]:
    return set(fieldsets.members(node))


@given(PATHS)
def test_a_set_survives_its_serialisation(paths: set[Path]) -> None:
    """Every path of it, and the same bytes again."""
    node = build(paths)
    assert paths_of(node) == paths
    raw = fieldsets.to_fields_v1(node)
    assert fieldsets.to_fields_v1(fieldsets.from_fields_v1(raw)) == raw


@given(PATHS, PATHS)
def test_union_and_exact_difference_are_those_of_sets(one: set[Path], other: set[Path]) -> None:
    """A parent stays a member when only its child goes, and the other way round."""
    assert paths_of(fieldsets.union(build(one), build(other))) == one | other
    assert paths_of(fieldsets.difference(build(one), build(other), deep=False)) == one - other


def above(path: Path, others: set[Path]) -> bool:
    """Whether a path is one of `others` or below one that has nothing below itself."""
    leaves = {other for other in others if not any(more != other and more[: len(other)] == other for more in others)}
    return path in others or any(path[: len(leaf)] == leaf for leaf in leaves)


@given(PATHS, PATHS)
def test_deep_difference_and_intersection_reach_below_a_leaf(one: set[Path], other: set[Path]) -> None:
    """A leaf of a change stands for everything below it."""
    met = {path for path in one if above(path, other)}
    assert fieldsets.intersection(build(one), build(other)) == sorted(met)
    assert paths_of(fieldsets.difference(build(one), build(other))) == one - met


@given(PATHS, PATHS)
def test_no_operation_changes_its_arguments(one: set[Path], other: set[Path]) -> None:
    """Sets are shared between objects, through the cache of parsed ones."""
    first, second = build(one), build(other)
    fieldsets.union(first, second)
    fieldsets.difference(first, second)
    fieldsets.intersection(first, second)
    assert (paths_of(first), paths_of(second)) == (one, other)


def test_elements_are_sorted_and_a_lone_self_is_a_leaf() -> None:
    """As kube-apiserver writes them: `.` first."""
    raw = b'{"f:b":{".":{}},"f:a":{"v:1":{},"f:c":{},".":{}}}'
    assert fieldsets.to_fields_v1(fieldsets.from_fields_v1(raw)) == b'{"f:a":{".":{},"f:c":{},"v:1":{}},"f:b":{}}'


@pytest.mark.parametrize("raw", [b"{", b"[]", b'{"f:a":1}', b'{"f:a":{"f:b":[]}}'])
def test_what_is_no_field_set_is_a_value_error(raw: bytes) -> None:
    """Bytes and JSON alike."""
    with pytest.raises(ValueError):
        fieldsets.from_fields_v1(raw)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("f:spec", "f:containers", 'k:{"name":"web"}', "f:image"), 'spec.containers[name="web"].image'),
        (("f:metadata", "f:finalizers", 'v:"a/b"'), 'metadata.finalizers[="a/b"]'),
        (("f:metadata", "f:labels", "f:app.kubernetes.io/name"), "metadata.labels[app.kubernetes.io/name]"),
    ],
)
def test_a_path_is_shown_as_conflicts_name_it(path: Any, text: str) -> None:
    """Fields by their path, list items by their key."""
    assert fieldsets.readable(path) == text
