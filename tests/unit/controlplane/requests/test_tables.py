"""Tables and metadata alone, in the form of meta.k8s.io/v1."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane import resources
from controlplane.requests import tables
from controlplane.requests.tables import Include
from pinnace import codec, kinds

RESOURCE = resources.built_in().resource(kinds.CONFIG_MAP)
METADATA = {"name": "one", "namespace": "default", "labels": {"a": "1"}, "creationTimestamp": "1970-01-01T00:01:00Z"}


def item() -> Any:
    return codec.decode(kinds.CONFIG_MAP.cls, {"metadata": METADATA, "data": {"k": "v"}})


def test_a_table_has_columns_and_a_row_for_each_object() -> None:
    """With the metadata of the list, and of each object unless it is told otherwise."""
    made = tables.table(RESOURCE, [item(), item()], now=100.0, metadata={"resourceVersion": "7"})
    assert (made["kind"], made["apiVersion"], made["metadata"]) == ("Table", "meta.k8s.io/v1", {"resourceVersion": "7"})
    assert [column["name"] for column in made["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert set(made["columnDefinitions"][0]) == {"name", "type", "format", "description", "priority"}
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": METADATA}
    assert made["rows"] == [{"cells": ["one", 1, "40s"], "object": partial}] * 2
    assert json.loads(json.dumps(made)) == made


@pytest.mark.parametrize(
    ("include", "carried"),
    [
        (Include.NONE, None),
        (Include.METADATA, {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": METADATA}),
        (Include.OBJECT, {"kind": "ConfigMap", "apiVersion": "v1", "metadata": METADATA, "data": {"k": "v"}}),
    ],
)
def test_a_row_carries_as_much_of_its_object_as_is_asked(include: Include, carried: Any) -> None:
    """By the words of includeObject."""
    assert tables.row(RESOURCE, item(), now=100.0, include=include).get("object") == carried
    assert Include(include.value) is include


def test_a_table_without_header_is_for_later_events_of_a_watch() -> None:
    """The client keeps the columns of the first."""
    made = tables.table(RESOURCE, [item()], now=100.0, header=False)
    assert made["columnDefinitions"] is None
    assert len(made["rows"]) == 1


def test_metadata_alone_as_a_list() -> None:
    """For informers that need no more."""
    made = tables.partial_list([item()], {"resourceVersion": "7", "continue": "x"})
    assert made == {
        "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "7", "continue": "x"},
        "items": [{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": METADATA}],
    }  # fmt: skip
