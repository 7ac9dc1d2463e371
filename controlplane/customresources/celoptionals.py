"""Optional values that a rule puts where the library cannot give them to a function of ours.

It converts the lists and maps that such a function is given, and ends the process at a map with an optional value in it. The
types of a checked expression tell where optional values are; one reaches a list, a map or a value of unknown type only as an
element of a literal or as an argument. A function may be given one that makes of it another one, or what it holds.
"""

from __future__ import annotations

from typing import Any

from pinnace.cel.v1 import checked_pb2

_TYPE = "optional_type"
# Functions and operators that take an optional value and put it nowhere.
_CONSUMERS = frozenset((
    "value", "or", "hasValue", "optional.of", "optional.ofNonZeroValue", "_?._", "_[?_]", "_[_]", "_==_", "_!=_",
))  # fmt: skip
# Those that give one of their arguments.
_CHOICES = frozenset(("_?_:_", "orValue"))


def are_kept(serialized: bytes) -> bool:
    """Whether a checked expression puts an optional value into a list, a map or a value of unknown type."""
    packed = checked_pb2.Packed.FromString(serialized)
    checked = checked_pb2.CheckedExpr.FromString(packed.value)
    optional = {at for at, type_ in checked.type_map.items() if type_.abstract_type.name == _TYPE}
    pending: list[Any] = [checked.expr]
    while pending:
        node = pending.pop()
        if _keeps(node, optional):
            return True
        for descriptor, value in node.ListFields():
            if descriptor.message_type is not None:
                pending += list(value) if descriptor.is_repeated else [value]
    return False


def _keeps(node: Any, optional: set[int]) -> bool:
    if not isinstance(node, checked_pb2.Expr):
        return False
    if node.HasField("list_expr"):
        spread = set(node.list_expr.optional_indices)
        return any(item.id in optional and at not in spread for at, item in enumerate(node.list_expr.elements))
    if node.HasField("struct_expr"):
        return any(entry.value.id in optional and not entry.optional_entry for entry in node.struct_expr.entries)
    if not node.HasField("call_expr") or node.call_expr.function in _CONSUMERS:
        return False
    call = node.call_expr
    if call.function in _CHOICES:
        # Between optional values it is one, and with another value of unknown type.
        return node.id not in optional and any(item.id in optional for item in call.args)
    return any(item.id in optional for item in (call.target, *call.args))
