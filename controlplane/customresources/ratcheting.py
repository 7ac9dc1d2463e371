"""Errors of an update that its object had before: those of values that the update leaves as they are do not count.

So an object that was stored under a laxer schema can still be labelled, finalized and deleted. Rules that read oldSelf, and
lists of unique items, are checked in any case. Source: KEP-4008, CRD validation ratcheting.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from controlplane.customresources.structural import Structural
from pinnace.errors import Cause
from pinnace.fieldpaths import join, segment


def remaining(errors: list[Cause], new: Any, old: Any, schema: Structural) -> list[Cause]:
    """The errors of `new` that are not of values which `old` has too."""
    if not errors:
        return errors
    kept = list(_unchanged(new, old, schema, ""))
    return [error for error in errors if error.reason == "FieldValueDuplicate" or not _is_within(error.field, kept)]


def by_key(items: list[Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """The items of a list with keys, by `key_of`."""
    return {key_of(item, keys): item for item in items}


def key_of(item: Any, keys: tuple[str, ...]) -> str:
    return json.dumps([item.get(key) for key in keys]) if isinstance(item, dict) else ""


def _unchanged(new: Any, old: Any, schema: Structural, path: str) -> Iterator[str]:
    """The paths of the values, outermost first, that are the same in both; items of a list correspond by their keys alone."""
    if new == old and json.dumps(new, sort_keys=True) == json.dumps(old, sort_keys=True):
        yield path
    elif isinstance(new, dict) and isinstance(old, dict):
        for key in new.keys() & old.keys():
            child = schema.child(key)
            if child is not None:
                yield from _unchanged(new[key], old[key], child, join(path, segment(key)))
    elif isinstance(new, list) and isinstance(old, list) and schema.list_type == "map" and schema.items is not None:
        before = by_key(old, schema.map_keys)
        for at, item in enumerate(new):
            was = before.get(key_of(item, schema.map_keys))
            if was is not None:
                yield from _unchanged(item, was, schema.items, f"{path}[{at}]")


def _is_within(path: str, kept: list[str]) -> bool:
    return any(not one or path == one or path.startswith((f"{one}.", f"{one}[")) for one in kept)
