"""Rules in CEL, evaluated when an object is written; `celcheck` has checked them with their definition.

The bounds of a rule: its parse depth and its 10,000 iterations by the library, its cost by an estimate from the schema's bounds
(`celcost`), and the size of values times rules of one object by MAX_WORK. Source: apiextensions-apiserver's schema/cel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controlplane.customresources import celcost, celenv, celsyntax, celtypes
from controlplane.customresources.ratcheting import by_key, key_of
from controlplane.customresources.structural import MAX_ERRORS, Rule, Structural
from pinnace import fielderrors
from pinnace.errors import Cause
from pinnace.fieldpaths import join, segment

# Values that all rules of one object together may be given: a third of a microsecond each.
MAX_WORK = 300_000
MAX_MESSAGE = 5_120


@dataclass(frozen=True, slots=True)
class Program:
    """One compiled rule. `transition`: it reads oldSelf, and does not run without an old value."""

    rule: Rule
    check: Any
    message: Any | None
    transition: bool


def programs(schema: Structural) -> tuple[Program, ...]:
    """The rules of one schema, compiled when they are first needed."""
    if schema.programs is None:
        schema.programs = tuple(_program(rule) for rule in schema.rules)
    return schema.programs


def _program(rule: Rule) -> Program:
    def compiled_of(source: str) -> Any:
        text = celsyntax.rewritten(source)
        return celenv.compiled(celenv.dynamic(), celenv.with_old(text) if rule.optional_old_self else text)

    compiled = compiled_of(rule.rule)
    message = compiled_of(rule.message_expression) if rule.message_expression else None
    transition = not rule.optional_old_self and "oldSelf" in celcost.names_in(compiled.serialize())
    return Program(rule, compiled, message, transition)


class _Evaluation:
    def __init__(self) -> None:
        self.errors: list[Cause] = []
        self.left = MAX_WORK

    def walk(self, value: Any, old: Any, schema: Structural, path: str) -> None:
        """`old` is None where there is no old value, or none that corresponds."""
        if self.left < 0 or len(self.errors) >= MAX_ERRORS or value is None or not schema.ruled:
            return
        if schema.rules:
            self._rules(value, old, schema, path)
        if isinstance(value, list) and schema.items is not None:
            before = by_key(old, schema.map_keys) if isinstance(old, list) and schema.list_type == "map" else {}
            for at, item in enumerate(value):
                self.walk(item, before.get(key_of(item, schema.map_keys)), schema.items, f"{path}[{at}]")
        elif isinstance(value, dict):
            for key, item in value.items():
                child = schema.child(key)
                if child is not None:
                    self.walk(item, old.get(key) if isinstance(old, dict) else None, child, join(path, segment(key)))

    def _rules(self, value: Any, old: Any, schema: Structural, path: str) -> None:
        due = [program for program in programs(schema) if _is_due(program, value, old)]
        self.left -= len(due) * (_size(value, self.left) + (_size(old, self.left) if old is not None else 0))
        if self.left < 0:
            detail = "validation rules cannot be run on an object of this size: the rule cost budget is exceeded"
            self.errors.append(fielderrors.forbidden(path, detail))
            return
        convert = celtypes.needs_conversion(schema)
        try:
            now = celtypes.converted(value, schema) if convert else value
            before = celtypes.converted(old, schema) if convert and old is not None else old
        except OverflowError:
            self.errors.append(fielderrors.invalid(path, schema.type, "holds a number that is larger than a double"))
            return
        data = {"self": now, "oldSelf": before, celenv.OLD: [] if before is None else [before]}
        for program in due:
            cause = _evaluate(program, data, schema, path)
            if cause is not None:
                self.errors.append(cause)


def validate(value: dict[str, Any], old: dict[str, Any] | None, schema: Structural) -> list[Cause]:
    """Every rule that a valid object breaks. `value` has apiVersion, kind and metadata; `old` is the object before."""
    evaluation = _Evaluation()
    evaluation.walk(value, old, schema, "")
    return evaluation.errors


def _is_due(program: Program, value: Any, old: Any) -> bool:
    """Not a transition without an old value, nor another rule on one that is as it was (see `ratcheting`)."""
    if old is None:
        return not program.transition
    return program.transition or program.rule.optional_old_self or value != old


def _size(value: Any, most: int) -> int:
    """Values in a tree, counted no further than `most`."""
    count, pending = 0, [value]
    while pending and count <= most:
        item = pending.pop()
        count += 1 + (len(item) >> 8 if isinstance(item, str) else 0)
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    return count


def _evaluate(program: Program, data: dict[str, Any], schema: Structural, path: str) -> Cause | None:
    rule = program.rule
    try:
        result = _plain(program.check.eval(data=data))
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        known = "budget exceeded" in str(error)
        detail = f"call cost exceeds limit for rule: {rule.rule}" if known else f"{error} evaluating rule: {rule.rule}"
        return fielderrors.invalid(path, schema.type, detail[:MAX_MESSAGE])
    if result is True:
        return None
    if result is not False:
        return fielderrors.invalid(path, schema.type, f"{_reason(result)} evaluating rule: {rule.message or rule.rule}")
    return _broken(rule, _message(program, data), schema, path + rule.field_path if path else rule.field_path.lstrip("."))


def _plain(value: Any) -> Any:
    """A result as Python has it. Raises TypeError for what neither a rule nor a message may be: the library ends the process
    when it converts a list or map with an optional value in it."""
    from cel_expr_python import cel

    if value.type() not in (cel.Type.BOOL, cel.Type.STRING, cel.Type.ERROR):
        raise TypeError(f"unexpected type {value.type().name()}")
    return value.plain_value()


def _reason(result: Any) -> str:
    text = str(result)
    if "Key not found" in text:
        return f"no such key: {text.rpartition(' : ')[2].strip(chr(34))}"
    return text.rpartition(": ")[2][:1000]


def _message(program: Program, data: dict[str, Any]) -> str:
    rule = program.rule
    if program.message is not None:
        try:
            text = _plain(program.message.eval(data=data))
        except (RuntimeError, TypeError, ValueError, OverflowError):
            text = None
        # As in Kubernetes, an expression that fails gives way to the fixed message.
        if isinstance(text, str) and text.strip() and "\n" not in text and not _failed(program, data):
            return text[:MAX_MESSAGE]
    return rule.message.strip() or f"failed rule: {rule.rule.strip()}"


def _failed(program: Program, data: dict[str, Any]) -> bool:
    from cel_expr_python import cel

    assert program.message is not None
    return bool(program.message.eval(data=data).type() == cel.Type.ERROR)


def _broken(rule: Rule, message: str, schema: Structural, path: str) -> Cause:
    if rule.reason == "FieldValueRequired":
        return fielderrors.required(path, message)
    if rule.reason == "FieldValueForbidden":
        return fielderrors.forbidden(path, message)
    if rule.reason == "FieldValueDuplicate":
        return fielderrors.duplicate(path, schema.type)
    return fielderrors.invalid(path, schema.type, message)
