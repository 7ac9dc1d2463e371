"""The estimate of a rule's cost is never below its cost: counted, unit by unit, by an interpreter that is written for this.

A unit is an operation, or ten characters read. So a rule that is accepted takes no more units than the budget, whatever the
object; how long a unit takes is the machine's affair. The interpreter knows what the rules here are made of, and every result
is compared with the library's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.customresources import celcost, celenv, schemaparser
from pinnace.cel.v1 import checked_pb2

ITEMS, LETTERS, CHARACTER = 5, 8, 0.1
TEXT: dict[str, Any] = {"type": "string", "maxLength": LETTERS}
SCHEMA = {"type": "object", "properties": {
    "name": TEXT, "list": {"type": "array", "maxItems": ITEMS, "items": TEXT},
    "deep": {"type": "array", "maxItems": ITEMS, "items": {"type": "array", "maxItems": ITEMS, "items": TEXT}},
}}  # fmt: skip


@dataclass
class Meter:
    """Evaluates an expression of CEL and counts what that takes."""

    used: float = 0.0

    def run(self, expr: Any, scope: dict[str, Any]) -> Any:
        kind = expr.WhichOneof("expr_kind")
        if kind == "const_expr":
            return constant(expr.const_expr)
        self.used += 1
        if kind == "ident_expr":
            return scope[expr.ident_expr.name]
        if kind == "select_expr":
            return self.run(expr.select_expr.operand, scope)[expr.select_expr.field]
        if kind == "list_expr":
            return [self.run(item, scope) for item in expr.list_expr.elements]
        return self._loop(expr.comprehension_expr, scope) if kind == "comprehension_expr" else self._call(expr.call_expr, scope)

    def _loop(self, loop: Any, scope: dict[str, Any]) -> Any:
        # A turn is a unit, the loop itself none.
        self.used -= 1
        items, result = self.run(loop.iter_range, scope), self.run(loop.accu_init, scope)
        for item in items:
            inner = {**scope, loop.iter_var: item, loop.accu_var: result}
            self.used += 1
            if not self.run(loop.loop_condition, inner):
                break
            result = self.run(loop.loop_step, inner)
        return self.run(loop.result, {**scope, loop.accu_var: result})

    def _call(self, call: Any, scope: dict[str, Any]) -> Any:
        operands = [*([call.target] if call.HasField("target") else []), *call.args]
        name = call.function
        if name in ("_&&_", "_||_"):
            first = self.run(operands[0], scope)
            return first if first is (name == "_||_") else self.run(operands[1], scope)
        if name == "_?_:_":
            return self.run(operands[1 if self.run(operands[0], scope) else 2], scope)
        values = [self.run(item, scope) for item in operands]
        return self._apply(name, values)

    def _apply(self, name: str, values: list[Any]) -> Any:
        """The value of a function of values that are there; the characters that it reads are counted."""
        if name == "@not_strictly_false":
            return values[0]
        if name == "!_":
            return not values[0]
        if name == "size":
            return len(values[0])
        if name == "_>_":
            return values[0] > values[1]
        if name == "_==_":
            self.used += min(map(letters, values)) * CHARACTER
            return values[0] == values[1]
        if name in ("@in", "_in_"):
            self.used += letters(values[1]) * CHARACTER
            return values[0] in values[1]
        if name == "_+_":
            self.used += sum(map(letters, values)) * CHARACTER if isinstance(values[0], str) else 0
            return values[0] + values[1]
        if name == "startsWith":
            self.used += len(values[1]) * CHARACTER
            return values[0].startswith(values[1])
        assert name == "contains", name
        self.used += len(values[0]) * CHARACTER * max(1, len(values[1]) * CHARACTER)
        return values[1] in values[0]


def constant(value: Any) -> Any:
    """A text, a bool or an integer: our message has the first alone, and the others are fields 2 and 3 of CEL's."""
    for field in UnknownFieldSet(value):
        return bool(field.data) if field.field_number == 2 else int(field.data)
    text = value.string_value
    return text.decode() if isinstance(text, bytes) else text


def letters(value: Any) -> int:
    """Characters in a text, or in all of a list."""
    if isinstance(value, list):
        return sum(map(letters, value))
    return len(value) if isinstance(value, str) else 1


# Names of variables that are texts, and that are lists of texts.
Scope = tuple[tuple[str, ...], tuple[str, ...]]


@st.composite
def texts(draw: st.DrawFn, scope: Scope, depth: int) -> str:
    plain = st.sampled_from([*scope[0], "''", "'ab'", "'abcdefgh'"])
    if depth <= 0 or draw(st.booleans()):
        return draw(plain)
    return f"({draw(texts(scope, depth - 1))} + {draw(texts(scope, depth - 1))})"


@st.composite
def lists(draw: st.DrawFn, scope: Scope, depth: int) -> str:
    if depth <= 0 or draw(st.booleans()):
        return draw(st.sampled_from(scope[1]))
    name = f"v{depth}"
    inner = ((*scope[0], name), scope[1])
    source = draw(st.sampled_from(scope[1]))
    if draw(st.booleans()):
        return f"{source}.map({name}, {draw(texts(inner, depth - 1))})"
    return f"{source}.filter({name}, {draw(conditions(inner, depth - 1))})"


@st.composite
def conditions(draw: st.DrawFn, scope: Scope, depth: int) -> str:
    form = draw(st.integers(0, 5 if depth > 0 else 2))
    if form <= 2:
        left, right = draw(texts(scope, depth - 1)), draw(texts(scope, depth - 1))
        listed = draw(lists(scope, depth - 1))
        return [f"{left} == {right}", f"{left}.startsWith({right})", f"({left} in {listed})"][form]
    if form == 3:
        operator = draw(st.sampled_from(["&&", "||"]))
        return f"({draw(conditions(scope, depth - 1))} {operator} {draw(conditions(scope, depth - 1))})"
    if form == 4:
        return f"({draw(texts(scope, depth - 1))}.contains('a') || {draw(lists(scope, depth - 1))}.size() > 2)"
    name = f"w{depth}"
    if draw(st.booleans()):
        inner = (scope[0], (*scope[1], name))
        return f"self.deep.{draw(st.sampled_from(['all', 'exists']))}({name}, {draw(conditions(inner, depth - 1))})"
    inner = ((*scope[0], name), scope[1])
    return f"{draw(lists(scope, depth - 1))}.{draw(st.sampled_from(['all', 'exists']))}({name}, {draw(conditions(inner, depth - 1))})"


OUTER: Scope = (("self.name",), ("self.list",))
words = st.text("ab", max_size=LETTERS) | st.just("a" * LETTERS)
word_lists = st.lists(words, max_size=ITEMS) | st.just(["a" * LETTERS] * ITEMS)
OBJECTS = st.fixed_dictionaries({"name": words, "list": word_lists, "deep": st.lists(word_lists, max_size=ITEMS)})
LARGEST = {"name": "a" * LETTERS, "list": ["a" * LETTERS] * ITEMS, "deep": [["a" * LETTERS] * ITEMS] * ITEMS}


def measured(rule: str, value: dict[str, Any], schema: dict[str, Any]) -> tuple[float, float]:
    """The units that a rule takes, and the estimate. Its result must be the library's."""
    parsed, errors = schemaparser.parse(schema, "schema")
    assert not errors
    compiled = celenv.compiled(celenv.dynamic(), rule)
    serialized = compiled.serialize()
    checked = checked_pb2.CheckedExpr.FromString(checked_pb2.Packed.FromString(serialized).value)
    meter = Meter()
    result = meter.run(checked.expr, {"self": value})
    assert compiled.eval(data={"self": value}).plain_value() == result
    return meter.used, celcost.estimate(serialized, {"self": celcost.shape_of(parsed)})


@settings(max_examples=300, deadline=None)
@given(rule=conditions(OUTER, 3), value=OBJECTS | st.just(LARGEST))
def test_a_rule_takes_no_more_units_than_its_estimate(rule: str, value: dict[str, Any]) -> None:
    """Loops in loops, texts and lists that are made, whatever the object is that the schema allows."""
    used, estimated = measured(rule, value, SCHEMA)
    assert used <= estimated + 1e-6


@pytest.mark.parametrize(
    "rule",
    [
        "self.list.all(a, self.list.all(b, self.list.all(c, a == b && b == c)))",
        "self.list.map(a, a + a).map(a, a + a).all(a, a.contains('a'))",
        "self.deep.all(d, d.all(a, self.deep.all(e, a in e)))",
    ],
)
def test_the_estimate_of_a_costly_rule_is_of_its_order(rule: str) -> None:
    """Else it would refuse what is harmless: the largest object uses a fifth of it at least."""
    used, estimated = measured(rule, LARGEST, SCHEMA)
    assert estimated / 5 <= used <= estimated
