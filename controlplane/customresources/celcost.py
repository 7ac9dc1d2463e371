"""An upper bound of what a rule costs, from the bounds that its schema puts on sizes; a rule above it is refused.

One unit is one operation, or ten characters read. Source: cel-go's checker/cost.go and apiextensions' cost limits; the library
itself ends an evaluation after 10,000 iterations, which bounds loops, but not the strings and lists in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from controlplane.customresources.celtypes import escaped
from controlplane.customresources.structural import Structural
from pinnace.cel.v1 import checked_pb2

# Of one rule, and of all rules of a definition, each times how often it can run for one object.
MAX_RULE, MAX_SCHEMA = 10_000_000, 100_000_000
# Bytes of the largest request: what has no bound of its own has this one.
MAX_BYTES = 3 << 20
_CHARACTER = 0.1
_SHORT = {"date-time": 40, "date": 10, "duration": 64, "uuid": 36, "ipv4": 15, "ipv6": 45}


@dataclass(frozen=True, slots=True)
class Shape:
    """Bounds of a value: `size` is characters, items or entries; `element` is of an item or a map's value."""

    size: float = 1
    element: Shape | None = None
    fields: Mapping[str, Structural] = field(default_factory=dict)


_SCALAR = Shape()


def shape_of(schema: Structural | None) -> Shape:
    if schema is None or schema.int_or_string or not schema.type:
        return Shape(MAX_BYTES)
    limits = schema.keywords
    if schema.type == "string":
        longest = max((len(item) for item in schema.enum or () if isinstance(item, str)), default=MAX_BYTES)
        return Shape(min(limits.get("maxLength", MAX_BYTES), longest, _SHORT.get(limits.get("format", ""), MAX_BYTES)))
    if schema.type == "array":
        return Shape(most_items(schema), shape_of(schema.items))
    if schema.type == "object":
        below = schema.additional if isinstance(schema.additional, Structural) else None
        size = most_items(schema) if below else len(schema.properties)
        fields = {escaped(name): child for name, child in schema.properties.items()}
        return Shape(max(size, 1), shape_of(below) if below else None, fields)
    return _SCALAR


def most_items(schema: Structural) -> float:
    """Items of a list, or entries of a map, that a request can hold."""
    below = schema.items if schema.type == "array" else schema.additional
    smallest = 1 + (_smallest(below) if isinstance(below, Structural) else 1) + (0 if schema.type == "array" else 4)
    limit = float(schema.keywords.get("maxItems" if schema.type == "array" else "maxProperties", MAX_BYTES))
    return min(limit, MAX_BYTES / smallest)


def _smallest(schema: Structural) -> float:
    """Bytes of the shortest JSON."""
    if schema.type == "object":
        needed = [(name, schema.properties.get(name)) for name in schema.required]
        return 2 + sum(len(name) + 4 + (_smallest(below) if below else 1) for name, below in needed)
    if schema.type == "string":
        return 2 + float(schema.keywords.get("minLength", 0))
    return 2 if schema.type == "array" else 4 if schema.type == "boolean" else 1


@dataclass(slots=True)
class Estimate:
    cost: float
    shape: Shape = _SCALAR


def estimate(serialized: bytes, variables: Mapping[str, Shape]) -> float:
    """The cost of an expression that the library has checked."""
    packed = checked_pb2.Packed.FromString(serialized)
    return _expr(checked_pb2.CheckedExpr.FromString(packed.value).expr, dict(variables)).cost


def names_in(serialized: bytes) -> set[str]:
    """Every identifier of an expression."""
    return {node.name for node in _nodes(serialized) if isinstance(node, checked_pb2.Ident)}


def functions_in(serialized: bytes) -> set[str]:
    """Every function and operator that an expression calls."""
    return {node.function for node in _nodes(serialized) if isinstance(node, checked_pb2.Call)}


def _nodes(serialized: bytes) -> Iterator[Any]:
    packed = checked_pb2.Packed.FromString(serialized)
    pending: list[Any] = [checked_pb2.CheckedExpr.FromString(packed.value).expr]
    while pending:
        node = pending.pop()
        yield node
        for descriptor, value in node.ListFields():
            if descriptor.message_type is not None:
                pending += list(value) if descriptor.is_repeated else [value]


def _expr(expr: Any, scope: dict[str, Shape]) -> Estimate:
    kind = expr.WhichOneof("expr_kind")
    if kind == "const_expr":
        constant = expr.const_expr
        return Estimate(0, Shape(max(len(constant.string_value), len(constant.bytes_value), 1)))
    if kind == "ident_expr":
        return Estimate(1, scope.get(expr.ident_expr.name, _SCALAR))
    if kind == "select_expr":
        operand = _expr(expr.select_expr.operand, scope)
        shape = _SCALAR if expr.select_expr.test_only else _select(operand.shape, expr.select_expr.field)
        return Estimate(operand.cost + 1, shape)
    if kind == "call_expr":
        return _call(expr.call_expr, scope)
    if kind == "list_expr":
        items = [_expr(item, scope) for item in expr.list_expr.elements]
        return Estimate(sum(item.cost for item in items) + 1, Shape(len(items), _largest([item.shape for item in items])))
    if kind == "struct_expr":
        items = [_expr(entry.value, scope) for entry in expr.struct_expr.entries]
        keys = [_expr(entry.map_key, scope) for entry in expr.struct_expr.entries]
        cost = sum(item.cost for item in items + keys) + 1
        return Estimate(cost, Shape(max(len(items), 1), _largest([item.shape for item in items])))
    return _loop(expr.comprehension_expr, scope) if kind == "comprehension_expr" else Estimate(0)


def _select(shape: Shape, name: str) -> Shape:
    if name in shape.fields:
        return shape_of(shape.fields[name])
    return shape.element or Shape(shape.size if shape.size > 1 else MAX_BYTES)


def _largest(shapes: list[Shape]) -> Shape | None:
    return max(shapes, key=_weight) if shapes else None


def _weight(shape: Shape) -> float:
    return shape.size * (_weight(shape.element) if shape.element else 1)


def _call(call: Any, scope: dict[str, Shape]) -> Estimate:
    targets = [call.target] if call.HasField("target") else []
    given = [_expr(arg, scope) for arg in (*targets, *call.args)]
    shapes = [one.shape for one in given]
    cost, sizes = sum(one.cost for one in given) + 1, [shape.size for shape in shapes]
    name = call.function
    if name == "_?_:_" and len(given) == 3:
        return Estimate(given[0].cost + max(given[1].cost, given[2].cost) + 1, _largest(shapes[1:]) or _SCALAR)
    if name in ("_&&_", "_||_", "!_", "@not_strictly_false", "size") or not given:
        return Estimate(cost)
    if name in ("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"):
        return Estimate(cost + min(map(_weight, shapes)) * _CHARACTER)
    if name in ("@in", "_in_"):
        return Estimate(cost + _weight(shapes[-1]) * (1 if shapes[-1].element else _CHARACTER))
    if name in ("_[_]", "_[?_]", "_?._", "optional.of", "value", "orValue", "or"):
        return Estimate(cost, shapes[0].element or shapes[0] if name in ("_[_]", "_[?_]") else _through(call, shapes))
    if name == "matches":
        return Estimate(cost + sizes[0] * _CHARACTER * max(1, sizes[-1] * 0.25))
    if name in ("_indexOf", "_lastIndexOf") and shapes[0].element:
        return Estimate(cost + shapes[0].size + _weight(shapes[0]) * _CHARACTER)
    if name == "_keys":
        return Estimate(cost + shapes[0].size, Shape(shapes[0].size, Shape(256)))
    if name == "_merge":
        entries = shapes[0].element or Shape(shapes[0].size)
        return Estimate(cost + _weight(shapes[0]), Shape(shapes[0].size * entries.size, entries.element))
    if name == "_zip":
        return Estimate(cost + sizes[0], Shape(sizes[0], shapes[-1].element))
    if name in ("contains", "_indexOf", "_lastIndexOf", "indexOf", "lastIndexOf", "split", "find", "findAll"):
        return Estimate(cost + sizes[0] * _CHARACTER * max(1, sizes[-1] * _CHARACTER), Shape(sizes[0], Shape(sizes[0])))
    if name in ("startsWith", "endsWith"):
        return Estimate(cost + sizes[-1] * _CHARACTER)
    if name in ("replace", "join", "format"):
        made = sum(map(_weight, shapes)) * max(sizes[1:], default=1)
        return Estimate(cost + made * _CHARACTER, Shape(made))
    if name.startswith("sets."):
        # Each item is read once: its own cost, and that of its characters.
        return Estimate(cost + sum(max(shape.size, _weight(shape) * _CHARACTER) for shape in shapes))
    made = sum(sizes)
    return Estimate(cost + made * _CHARACTER, Shape(made, _largest([shape.element for shape in shapes if shape.element])))


def _through(call: Any, shapes: list[Shape]) -> Shape:
    """What optional access leads to."""
    if call.function == "_?._" and len(call.args) > 1:
        return _select(shapes[0], call.args[1].const_expr.string_value.decode())
    return _largest(shapes) or _SCALAR


def _loop(loop: Any, scope: dict[str, Shape]) -> Estimate:
    over, start = _expr(loop.iter_range, scope), _expr(loop.accu_init, scope)
    count = over.shape.size
    # Without a known element: a key of a map, or something as large as all of it.
    element = over.shape.element or Shape(over.shape.size)
    inner = {**scope, loop.iter_var: element, loop.accu_var: start.shape}
    if loop.iter_var2:
        inner |= {loop.iter_var: Shape(256), loop.iter_var2: element}
    condition, step = _expr(loop.loop_condition, inner), _expr(loop.loop_step, inner)
    grown = max(step.shape.size - start.shape.size, 0) * count + start.shape.size
    end = Shape(grown, step.shape.element or start.shape.element, start.shape.fields)
    result = _expr(loop.result, {**scope, loop.accu_var: end})
    return Estimate(over.cost + start.cost + count * (condition.cost + step.cost + 1) + result.cost, result.shape)
