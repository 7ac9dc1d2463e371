"""The fields of a custom object, which hold JSON, as one tree. Without custom kinds no more of the package is imported."""

from __future__ import annotations

import json
from typing import Any

from pinnace import codec
from pinnace.apiextensions.v1.customresource_pb2 import CustomResource

PARTS = ("spec", "status")


def tree_of(item: CustomResource) -> dict[str, Any]:
    """Every field but metadata, apiVersion and kind."""
    tree: dict[str, Any] = json.loads(item.rest.raw) if item.rest.raw else {}
    for name in PARTS:
        raw = getattr(item, name).raw
        if raw:
            tree[name] = json.loads(raw)
    return tree


def put_tree(item: CustomResource, tree: dict[str, Any]) -> None:
    """The inverse of tree_of. Raises FieldError for what is no JSON."""
    for name in PARTS:
        if tree.get(name) is None:
            item.ClearField(name)
        else:
            getattr(item, name).raw = codec.json_text(tree[name])
    rest = {key: value for key, value in tree.items() if key not in PARTS}
    if rest:
        item.rest.raw = codec.json_text(rest)
    else:
        item.ClearField("rest")
