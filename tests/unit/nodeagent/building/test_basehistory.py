"""What a build keeps of its base image's history."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nodeagent.building import basehistory

TWO = [
    {"created_by": "a", "created": "2020-01-01T00:00:00Z", "comment": "c", "other": 5},
    {"created_by": "b", "empty_layer": True},
    {"created_by": "d"},
]


def read(value: Any, layers: int = 2) -> basehistory.BaseHistory:
    return basehistory.read(json.dumps(value).encode(), "x", layers)


def test_a_history_that_fits_is_kept() -> None:
    """Its known members, and the author."""
    found = read({"history": TWO, "author": "Me"})
    assert found.author == "Me"
    assert found.entries == (
        {"created_by": "a", "created": "2020-01-01T00:00:00Z", "comment": "c"}, {"created_by": "b", "empty_layer": True}, {"created_by": "d"},
    )  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [{}, {"history": TWO[:2]}, {"history": "x"}, {"history": [1, 2]}, {"history": [{"empty_layer": "yes"}]}, [], 5, None, {"history": TWO * 5000}],
    ids=[str(number) for number in range(9)],
)  # fmt: skip
def test_any_other_is_replaced(value: Any) -> None:
    """So that those that are not marked empty are as many as the layers."""
    assert read(value).entries == ({"created_by": "FROM x"}, {"created_by": "FROM x"})


def test_hostile_texts_are_left_out() -> None:
    """What is no UTF-8, or very long."""
    assert read({"history": [{"created_by": "\ud800"}, {"created_by": "x" * 100_000}], "author": 5}).entries == ({}, {})
    assert basehistory.read(b"[" * 100_000, "x", 1).entries == ({"created_by": "FROM x"},)
    assert basehistory.read(b"", "x", 0).entries == ()
