"""Fields of a manifest that the kind's schema does not have: found, and left out, before the manifest is decoded.

gRPC's requests are strict. A client of the REST API chooses by `fieldValidation` whether they are errors, warnings or nothing.
"""

from __future__ import annotations

from typing import Any

from pinnace.fieldpaths import join, segment
from pinnace.schematree import LIST, MAP, SCALAR, Node

# Of one request; the rest is left out without being listed.
MAX_LISTED = 100


def drop(node: Node, value: Any) -> tuple[Any, list[str]]:
    """`value` without fields that `node` does not have, and their paths. Parts of the wrong type stay, for the decoder."""
    found: list[str] = []
    return _drop(node, value, "", found), found


def _drop(node: Node, value: Any, path: str, found: list[str]) -> Any:
    if isinstance(value, dict) and node.form not in (SCALAR, LIST):
        return _fields(node, value, path, found)
    if isinstance(value, list) and node.form == LIST and node.element is not None:
        element = node.element
        return [_drop(element, item, f"{path}[{at}]", found) for at, item in enumerate(value)]
    return value


def _fields(node: Node, value: dict[str, Any], path: str, found: list[str]) -> dict[str, Any]:
    out = {}
    for key, item in value.items():
        child, here = node.child(key), join(path, segment(key))
        if child is not None:
            out[key] = _drop(child, item, here, found)
        elif node.form == MAP:
            out[key] = item
        elif len(found) < MAX_LISTED:
            found.append(here)
    return out
