"""Pruning: remove the fields that a schema does not specify.

Source: apiextensions-apiserver's schema/pruning.
"""

from __future__ import annotations

from typing import Any

from controlplane.customresources.structural import Structural
from pinnace.fieldpaths import join, segment

# Fields that every object has, and every embedded one.
OBJECT_FIELDS = ("apiVersion", "kind", "metadata")


def prune(value: Any, schema: Structural) -> list[str]:
    """Remove unspecified fields from an object in place; returns their paths. Metadata is left to its own codec."""
    dropped: list[str] = []
    _prune(value, schema, "", dropped, keep=OBJECT_FIELDS)
    return dropped


def _prune(value: Any, schema: Structural, path: str, dropped: list[str], *, keep: tuple[str, ...] = ()) -> None:
    if isinstance(value, list):
        if schema.items is not None:
            for at, item in enumerate(value):
                _prune_below(item, schema.items, path, at, dropped)
    elif isinstance(value, dict) and schema.additional is not True:
        keep = OBJECT_FIELDS if schema.embedded else keep
        for key in list(value):
            child = schema.child(key)
            if child is not None and not (key == "metadata" and keep):
                _prune_below(value[key], child, path, key, dropped)
            elif child is None and key not in keep and not schema.preserve:
                dropped.append(join(path, segment(key)))
                del value[key]


def _prune_below(value: Any, schema: Structural, path: str, key: str | int, dropped: list[str]) -> None:
    if isinstance(value, dict | list):
        _prune(value, schema, join(path, segment(key)), dropped)
