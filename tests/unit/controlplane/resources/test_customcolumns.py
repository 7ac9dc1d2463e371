"""Printer columns of custom kinds: a typed cell for every object, whatever it holds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.resources import customcolumns
from controlplane.resources.columns import Cell
from pinnace.apiextensions.v1.customresource_pb2 import CustomResource
from pinnace.apiextensions.v1.customresourcedefinition_pb2 import CustomResourceColumnDefinition

NOW = 1_000_000.0


def cells(spec: Any, *columns: tuple[str, str]) -> list[Cell]:
    """Of columns given by type and path."""
    item = CustomResource()
    item.metadata.name = "one"
    item.metadata.creationTimestamp.seconds = int(NOW) - 60
    item.spec.raw = json.dumps(spec).encode()
    listed = [CustomResourceColumnDefinition(name="X", type=type_, jsonPath=path) for type_, path in columns]
    return list(customcolumns.of_version("example.com/v1", "Widget", listed).cells(item, NOW))


def cell(value: Any, type_: str, path: str = ".spec.x") -> Cell:
    return cells({"x": value}, (type_, path))[1]


@pytest.mark.parametrize(
    ("value", "type_", "expected"),
    [
        ("text", "string", "text"), (7, "string", "7"), (True, "string", "true"), (None, "string", "null"), ({"b": 1, "a": [2]}, "string", '{"a":[2],"b":1}'),
        (7, "integer", 7), (7.9, "integer", 7), ("7", "integer", None), (True, "integer", None), (1 << 63, "integer", None), (10**400, "integer", None),
        (7, "number", 7.0), (1.5, "number", 1.5), ("x", "number", None), (False, "number", None), (10**400, "number", None),
        (True, "boolean", True), (False, "boolean", False), ("true", "boolean", None), (0, "boolean", None),
        ("1970-01-12T13:45:40Z", "date", "60s"), ("1970-01-12T15:45:40.5+02:00", "date", "59s"), ("tomorrow", "date", "<invalid>"), ("", "date", "<unknown>"),
        (5, "date", None), ("2970-01-01T00:00:00Z", "date", "<invalid>"), (None, "date", None), (None, "integer", None),
        ("x", "unheard-of", None),
    ],
)  # fmt: skip
def test_a_cell_has_the_type_of_its_column(value: Any, type_: str, expected: Cell) -> None:
    """Null where the value has another, as kube-apiserver's."""
    found = cell(value, type_)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize("path", [".spec.hosts[5]", ".spec.image[?(@.a)]", ".spec[", ".spec.none", ".spec.x.y.z"])
def test_a_path_that_does_not_fit_an_object_leaves_its_cell_empty(path: str) -> None:
    """The other columns are shown."""
    spec = {"hosts": ["a"], "image": "i", "x": 1}
    assert cells(spec, ("string", path), ("string", ".spec.image")) == ["one", None, "i"]


def test_a_number_that_is_none_in_json_is_no_cell() -> None:
    """Python reads 1e999 as infinity, which no JSON reader takes."""
    item = CustomResource()
    item.spec.raw = b'{"x": 1e999}'
    listed = [CustomResourceColumnDefinition(name="X", type=type_, jsonPath=".spec.x") for type_ in ("number", "integer")]
    assert list(customcolumns.of_version("example.com/v1", "Widget", listed).cells(item, NOW)) == ["", None, None]


def test_a_cell_of_a_whole_object_is_bounded() -> None:
    """A path may lead to a megabyte."""
    text = cell("a" * 100_000, "string")
    assert isinstance(text, str)
    assert text == "a" * customcolumns.MAX_TEXT + "..."


def test_paths_see_the_whole_object() -> None:
    """Its metadata, kind and apiVersion too; of several values the first is shown."""
    paths = [(".metadata.name", "one"), (".kind", "Widget"), (".apiVersion", "example.com/v1"), (".spec.list[*]", "3")]
    found = cells({"list": [3, 4]}, *(("string", path) for path, _ in paths), ("date", ".metadata.creationTimestamp"))
    assert found == ["one", *(text for _, text in paths), "60s"]


def test_definitions_are_those_of_the_kind() -> None:
    """NAME comes first and AGE is not added; without any there are NAME and AGE."""
    listed = [CustomResourceColumnDefinition(name="Size", type="integer", format="int32", priority=1, jsonPath=".spec.size")]
    name, size = customcolumns.of_version("example.com/v1", "Widget", listed).definitions
    assert (name.name, name.format) == ("Name", "name")
    assert (size.name, size.type, size.format, size.priority) == ("Size", "integer", "int32", 1)
    assert ".spec.size" in size.description
    assert [column.name for column in customcolumns.of_version("example.com/v1", "Widget", []).definitions] == ["Name", "Age"]
