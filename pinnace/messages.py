"""Protobuf messages as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

M = TypeVar("M")


def clone(message: M) -> M:
    """A copy of a protobuf message, the caller's own to change."""
    copy = type(message)()
    copy.CopyFrom(message)  # type: ignore[attr-defined]
    return copy


def includes(pairs: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether `pairs` has all of `wanted`. A map of a message adds a key that `[]`, or a comparison of `items()`, looks up."""
    return all(pairs.get(key) == value for key, value in wanted.items())
