"""JSON patches (RFC 6902) and merge patches (RFC 7386), with the examples of their appendices."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from controlplane.requests import jsonpatch
from controlplane.requests.patch import merge
from pinnace import errors


def op(name: str, path: Any, **rest: Any) -> dict[str, Any]:
    return {"op": name, "path": path, **rest}


@pytest.mark.parametrize(
    ("value", "operation", "result"),
    [
        ({"foo": "bar"}, op("add", "/baz", value="qux"), {"foo": "bar", "baz": "qux"}),
        ({"foo": ["bar", "baz"]}, op("add", "/foo/1", value="qux"), {"foo": ["bar", "qux", "baz"]}),
        ({"foo": ["bar"]}, op("add", "/foo/-", value=["abc"]), {"foo": ["bar", ["abc"]]}),
        ({"foo": "bar"}, op("add", "/foo", value=None), {"foo": None}),
        ({"baz": "qux", "foo": "bar"}, op("remove", "/baz"), {"foo": "bar"}),
        ({"foo": ["bar", "qux", "baz"]}, op("remove", "/foo/1"), {"foo": ["bar", "baz"]}),
        ({"baz": "qux", "foo": "bar"}, op("replace", "/baz", value="boo"), {"baz": "boo", "foo": "bar"}),
        ({"foo": {"waldo": 1}, "qux": {}}, op("move", "/qux/thud", **{"from": "/foo/waldo"}), {"foo": {}, "qux": {"thud": 1}}),
        ({"foo": [1, 2, 3, 4]}, op("move", "/foo/3", **{"from": "/foo/1"}), {"foo": [1, 3, 4, 2]}),
        ({"foo": 1}, op("move", "/foo", **{"from": "/foo"}), {"foo": 1}),
        ({"a": {"b": [1]}}, op("copy", "/c", **{"from": "/a"}), {"a": {"b": [1]}, "c": {"b": [1]}}),
        ({"/": 9, "~1": 10}, op("test", "/~01", value=10), {"/": 9, "~1": 10}),
        ({"a/b": 1}, op("remove", "/a~1b"), {}),
        ({"": 1}, op("test", "/", value=1), {"": 1}),
        ({"a": 1}, op("test", "", value={"a": 1.0}), {"a": 1}),
        ({"a": 1}, op("replace", "", value={"b": 2}), {"b": 2}),
        ({"a": [1, {"b": None}]}, op("test", "/a", value=[1, {"b": None}], extra="ignored"), {"a": [1, {"b": None}]}),
    ],
)
def test_each_operation_does_what_the_rfc_says(value: Any, operation: Any, result: Any) -> None:
    """Members that are not defined are ignored."""
    assert jsonpatch.apply(copy.deepcopy(value), [operation]) == result


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (op("test", "/a", value=True), "the value is another one"),
        (op("test", "/a", value="1"), "the value is another one"),
        (op("test", "/l", value=[2]), "the value is another one"),
        (op("add", "/b/c", value=1), "the path does not exist"),
        (op("add", "/a/c", value=1), "the path leads into a scalar"),
        (op("replace", "/b", value=1), "the path does not exist"),
        (op("remove", "/b"), "the path does not exist"),
        (op("remove", ""), "the whole object cannot be removed"),
        (op("add", "/l/2", value=1), "the list has no index 2"),
        (op("add", "/l/01", value=1), '"01" is no index of a list'),
        (op("add", "/l/x", value=1), '"x" is no index of a list'),
        (op("replace", "/l/-", value=1), '"-" is no index of a list'),
        (op("add", "/l/" + "9" * 5000, value=1), "the list has no index"),
        (op("add", "/l/٣", value=1), "is no index of a list"),
        (op("move", "/o/x/y", **{"from": "/o"}), "a value cannot be moved into itself"),
        (op("move", "/b"), '"from" is missing'),
        (op("add", "/b"), '"value" is missing'),
        ({"op": "remove"}, '"path" is missing'),
        ({"op": ["add"], "path": ""}, '"op" is not one of add, copy, move, remove, replace, test'),
        (op("remove", 5), "a path is empty or begins with /"),
        (op("remove", "a"), "a path is empty or begins with /"),
        (op("remove", "/~2"), "a path has ~ only in ~0 and ~1"),
        (op("test", "/a" * 300, value=1), "more than 256 parts"),
    ],
)
def test_an_operation_that_does_not_apply_is_named_with_its_reason(operation: Any, why: str) -> None:
    """The first such one, by its number."""
    with pytest.raises(errors.Invalid) as caught:
        jsonpatch.apply({"a": 1, "l": [1], "o": {"x": {}}}, [op("test", "/a", value=1), operation])
    assert caught.value.message.startswith("operation 1 of the patch")
    assert why in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("value", "patch", "why"),
    [
        ({}, {"op": "add"}, "list of operations"),
        ({}, ["add"], "list of operations"),
        ({}, [op("test", "", value={})] * 10_001, "10001 operations, more than 10000"),
        ({"a": "x" * 100_000}, [op("copy", f"/{n}", **{"from": "/a"}) for n in range(40)], "copies more than 3 MiB"),
        ({"a": ["x"]}, [op("copy", "/a/-", **{"from": "/a"})] * 30, "copies more than 3 MiB"),
        ({"a": [0] * 300_000}, [op("add", "/a/0", value=1)] * 2000, "moves too many items"),
    ],
    ids=["object", "strings", "operations", "copies", "doubling", "shifts"],
)
def test_a_patch_that_asks_for_too_much_is_refused(value: Any, patch: Any, why: str) -> None:
    """Before it costs memory or time."""
    with pytest.raises(errors.BadRequest, match=why):
        jsonpatch.apply(value, patch)


@pytest.mark.parametrize(
    ("value", "change", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_the_rfc_says(value: Any, change: Any, result: Any) -> None:
    """All cases of its appendix A."""
    assert merge(value, change) == result
