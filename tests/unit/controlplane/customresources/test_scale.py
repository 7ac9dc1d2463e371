"""The replicas of a custom object at the paths of its definition."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.customresources.scale import ScalePaths
from pinnace.errors import Internal, Invalid

PATHS = ScalePaths(".spec.size.count", ".status.count", ".status.selector")
WHOLE = {"spec": {"size": {"count": 3}}, "status": {"count": 2, "selector": "app=web"}}
WRONG: list[Any] = ["3", 3.0, True, None, [], {}, -1, 1 << 31]


def test_replicas_are_read_at_their_paths() -> None:
    """What the object does not say is absent, nothing or empty."""
    assert (PATHS.wanted(WHOLE), PATHS.observed(WHOLE), PATHS.selected(WHOLE)) == (3, 2, "app=web")
    for tree in ({}, {"spec": {}}, {"spec": "text", "status": 7}):
        assert (PATHS.wanted(tree), PATHS.observed(tree), PATHS.selected(tree)) == (None, 0, "")
    assert ScalePaths(".spec.n", ".status.n").selected(WHOLE) == ""
    assert PATHS.wanted({"spec": {"size": {"count": 0}}}) == 0


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_what_is_no_number_of_replicas_is_an_error(value: Any) -> None:
    """When an object is written, and also when one is read that was stored before."""
    tree = {"spec": {"size": {"count": value}}, "status": {"count": value}}
    assert [error.field for error in PATHS.errors(tree)] == ["spec.size.count", "status.count"]
    with pytest.raises(Internal):
        PATHS.wanted(tree)
    with pytest.raises(Internal):
        PATHS.observed(tree)


def test_errors_are_worded_as_in_kubernetes() -> None:
    """By the bound that is broken."""
    found = [str(error) for value in (-1, 1 << 31, "3") for error in PATHS.errors({"spec": {"size": {"count": value}}})]
    assert found == [
        "spec.size.count: Invalid value: -1: should be a non-negative integer",
        "spec.size.count: Invalid value: 2147483648: should be less than or equal to 2147483647",
        'spec.size.count: Invalid value: "3": must be an integer, is "3"',
    ]
    assert [error.field for error in PATHS.errors({"status": {"selector": 7}})] == ["status.selector"]
    assert list(PATHS.errors(WHOLE)) == []
    with pytest.raises(Internal, match="must be a string"):
        PATHS.selected({"status": {"selector": 7}})


def test_replicas_are_put_where_they_belong() -> None:
    """Objects on the way are made; what is in the way is an error."""
    tree: dict[str, Any] = {"spec": {"image": "x"}}
    PATHS.put(tree, 5)
    assert tree == {"spec": {"image": "x", "size": {"count": 5}}}
    PATHS.put(tree, 0)
    assert tree["spec"]["size"] == {"count": 0}
    with pytest.raises(Invalid, match=r"\.spec\.size is not an object"):
        PATHS.put({"spec": {"size": 7}}, 1)
