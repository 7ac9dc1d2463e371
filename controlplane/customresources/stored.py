"""Stored custom objects as readers see them: pruned, and with the defaults of the schema that their definition has now.

Nothing is written: an object keeps its stored form until the next write. Source: "Defaulting and nullable" and "Field pruning"
in Kubernetes' page on CustomResourceDefinitions; the storage codec of apiextensions-apiserver's customresource_handler.go.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from controlplane.customresources import defaulting, pruning
from controlplane.customresources.content import put_tree, tree_of
from controlplane.customresources.objects import Rules
from pinnace.apiextensions.v1.customresource_pb2 import CustomResource
from pinnace.kinds import Reader


def reader_of(stored: Rules, own: Rules) -> Reader:
    """How stored bytes become those that a version with the rules `own` serves; `stored` are the storage version's."""

    def read(value: bytes) -> bytes:
        try:
            item = CustomResource.FromString(value)
            tree = tree_of(item)
        except (DecodeError, ValueError, RecursionError):
            # The reader finds the damage itself, and says which object has it.
            return value
        if not _complete(tree, stored) | (own is not stored and _narrow(tree, own)):
            return value
        put_tree(item, tree)
        out: bytes = item.SerializeToString(deterministic=True)
        return value if out == value else out

    return read


def _complete(tree: dict[str, Any], rules: Rules) -> bool:
    """Bring an object to the schema in place; returns whether that changed it."""
    narrowed = _narrow(tree, rules)
    return defaulting.apply_defaults(tree, rules.schema) or narrowed


def _narrow(tree: dict[str, Any], rules: Rules) -> bool:
    pruned = bool(pruning.prune(tree, rules.schema))
    return defaulting.prune_nulls(tree, rules.schema) or pruned
