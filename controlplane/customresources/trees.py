"""The schema of a custom kind as the tree that apply, patches and field ownership walk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from controlplane.customresources.structural import UNSET, Structural
from pinnace import schematree
from pinnace.meta.v1.meta_pb2 import ObjectMeta
from pinnace.schematree import LIST, MAP, SCALAR, STRUCT, Node

# A value of which nothing is known is owned as a whole.
_ANY = Node(SCALAR)
_MAP = Node(MAP, element=_ANY)
# An embedded object's metadata is neither pruned nor decoded: of its fields only these two are known to be maps.
_EMBEDDED: Mapping[str, Node] = {
    "apiVersion": _ANY, "kind": _ANY,
    "metadata": Node(STRUCT, unknown=_ANY, build=lambda: {"labels": _MAP, "annotations": _MAP}),
}  # fmt: skip


def tree(schema: Callable[[], Structural]) -> Node:
    """The tree of an object. The schema is read when a field is first asked for."""

    def children() -> Mapping[str, Node]:
        found = schema()
        # Every walk reads the children first, so parsing the schema can wait until then.
        root.unknown = _unknown(found)
        return {**_fields(found), "metadata": schematree.of(ObjectMeta)}

    root = Node(STRUCT, build=children)
    return root


def _fields(schema: Structural) -> dict[str, Node]:
    fields = {name: _node(below) for name, below in schema.properties.items()}
    return {**fields, **_EMBEDDED} if schema.embedded else fields


def _unknown(schema: Structural) -> Node | None:
    """The node of values under keys that are no property. Deduced as kube-openapi does: each field by itself."""
    if isinstance(schema.additional, Structural):
        return _node(schema.additional)
    return _ANY if schema.preserve or schema.additional is True else None


def _node(schema: Structural) -> Node:
    default: Any = None if schema.default is UNSET else schema.default
    atomic = schema.map_type == "atomic"
    if schema.type == "array" and schema.items is not None:
        keyed = schema.list_type in ("map", "set")
        return Node(
            LIST, atomic=not keyed, map_keys=schema.map_keys, set=schema.list_type == "set", element=_node(schema.items),
            default=default,
        )  # fmt: skip
    if isinstance(schema.additional, Structural) and not schema.properties:
        return Node(MAP, atomic=atomic, element=_node(schema.additional), default=default)
    if schema.properties and schema.type == "object":
        return Node(STRUCT, atomic=atomic, default=default, unknown=_unknown(schema), build=lambda: _fields(schema))
    if schema.type == "object" and (schema.preserve or schema.additional is True):
        return Node(MAP, atomic=atomic, element=_ANY, default=default)
    return Node(SCALAR, default=default)
