"""Protobuf messages as values."""

from __future__ import annotations

from typing import TypeVar

M = TypeVar("M")


def clone(message: M) -> M:
    """A copy of a protobuf message, the caller's own to change."""
    copy = type(message)()
    copy.CopyFrom(message)  # type: ignore[attr-defined]
    return copy
