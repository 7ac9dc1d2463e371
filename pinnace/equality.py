"""Semantic equality of messages: whether two of them state the same, though one writes it otherwise.

Quantities are equal by their amount, and an empty struct equals an absent one where Kubernetes has a struct and not a pointer
to one (elsewhere an empty one means something, such as `emptyDir: {}`). Absent and empty lists and maps, and times in other
zones, are equal as messages already. Source: apimachinery's pkg/api/equality; the types of k8s.io/api.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from pinnace import quantity
from pinnace.meta.v1.scalars_pb2 import Quantity

# Message, and its fields that are structs of Kubernetes' Go types. Of every object: metadata, spec and status.
_OBJECT = frozenset(("metadata", "spec", "status"))
_STRUCTS = {
    "Container": frozenset(("resources",)),
    "EphemeralContainerCommon": frozenset(("resources",)),
    "ContainerStatus": frozenset(("state", "lastState")),
    "Event": frozenset(("involvedObject", "source", "regarding", "deprecatedSource")),
    "NodeStatus": frozenset(("daemonEndpoints", "nodeInfo")),
    "PodTemplate": frozenset(("template",)),
    "PodTemplateSpec": _OBJECT,
    "CustomResourceDefinitionSpec": frozenset(("names",)),
    "CustomResourceDefinitionStatus": frozenset(("acceptedNames",)),
}
_NONE: frozenset[str] = frozenset()


def same(one: Message, other: Message) -> bool:
    """Of two messages of one type. Costs a comparison in C when they are equal, or of a type without other forms, else a walk
    to the first difference."""
    if one == other:
        return True
    if _is_literal(one.DESCRIPTOR):
        return False
    if isinstance(one, Quantity):
        return isinstance(other, Quantity) and _amount(one) == _amount(other)
    before = dict(one.ListFields())
    for item, value in other.ListFields():
        was = before.pop(item, None)
        if was != value and not _same_field(item, was, value):
            return False
    return all(_is_empty(item, value) for item, value in before.items())


@cache
def _is_literal(root: Descriptor) -> bool:
    """Whether messages of a type are the same only if they are equal: there is no quantity in them, and no struct."""
    types, pending = {root}, [root]
    while pending:
        found = pending.pop()
        if found is Quantity.DESCRIPTOR or any(_is_struct(item) for item in found.fields):
            return False
        below = {item.message_type for item in found.fields if item.message_type is not None} - types
        types |= below
        pending += below
    return True


def _amount(value: Quantity) -> Any:
    try:
        return quantity.parse(value.string)
    except ValueError:
        return value.string


def _same_field(item: FieldDescriptor, one: Any, other: Any) -> bool:
    """Of a field whose values are not equal as they are. None: absent in the first."""
    if one is None:
        return _is_empty(item, other)
    if item.message_type is None:
        return False
    if not item.is_repeated:
        return same(one, other)
    if item.message_type.GetOptions().map_entry:
        # Not by `keys()`, which compares in Python what `in` finds in C.
        return len(one) == len(other) and all(key in other and _same_value(one[key], other[key]) for key in one)
    return len(one) == len(other) and all(same(left, right) for left, right in zip(one, other, strict=True))


def _same_value(one: Any, other: Any) -> bool:
    return same(one, other) if isinstance(one, Message) else bool(one == other)


def _is_empty(item: FieldDescriptor, value: Any) -> bool:
    """Whether a field that is there means nothing."""
    if item.message_type is None or item.is_repeated or not _is_struct(item):
        return False
    return all(_is_empty(below, inner) for below, inner in value.ListFields())


def _is_struct(item: FieldDescriptor) -> bool:
    owner = item.containing_type
    assert owner is not None
    is_object = item.name in _OBJECT and "metadata" in owner.fields_by_name
    return is_object or item.name in _STRUCTS.get(owner.name, _NONE)
