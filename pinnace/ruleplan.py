"""The field options of a message type, compiled once: reading them at every object costs more than the checks.

A plan walks only fields that are set and that have something to default or to check, there or in the messages below. No path is
made before there is an error: one begins as an error of the value itself, and each message on the way up adds its field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor

from pinnace import fielderrors, formats, manifest
from pinnace.errors import Cause
from pinnace.meta.v1 import options_pb2
from pinnace.remembered import Remembered, in_place
from pinnace.schema import Field, Schema

# Adds the errors of a value to the list; their paths begin below the value.
Check = Callable[[Any, list[Cause]], None]


class Checked(NamedTuple):
    """A field to look at when it is set."""

    # The path from its message: its name, or nothing for one whose fields JSON lifts up.
    path: str
    required: bool
    check: Check | None


class Default(NamedTuple):
    """A field that has a default; `presence` as in `schema.Field`."""

    name: str
    presence: bool
    value: Any


class Defaulted(NamedTuple):
    """A message field below which there are defaults, and the function that fills them in."""

    repeated: bool
    fill: Callable[[Any], None]


@dataclass(slots=True)
class Plan:
    """The defaults and checks of the messages of one type. Keys are descriptors: reading a descriptor's name takes longer."""

    defaults: tuple[Default, ...] = ()
    defaulted: dict[FieldDescriptor, Defaulted] = field(default_factory=dict)
    # Required fields are among the checked ones.
    required: tuple[FieldDescriptor, ...] = ()
    checked: dict[FieldDescriptor, Checked] = field(default_factory=dict)

    def default(self, message: Any) -> None:
        """Fill every absent field that has a default, in the messages that are present."""
        listed = message.ListFields() if self.defaulted else ()
        for name, presence, value in self.defaults:
            if not (message.HasField(name) if presence else getattr(message, name)):
                setattr(message, name, value)
        for descriptor, value in listed:
            found = self.defaulted.get(descriptor)
            if found is not None:
                for nested in value if found.repeated else (value,):
                    found.fill(nested)

    def validate(self, message: Any, errors: list[Cause]) -> None:
        """Add every error that the field options can name: of absent fields first, then in order of field number."""
        start, missing, checked = len(errors), len(self.required), self.checked
        for descriptor, value in message.ListFields() if checked else ():
            if descriptor not in checked:
                continue
            path, required, check = checked[descriptor]
            missing -= required
            if check is not None:
                before = len(errors)
                check(value, errors)
                if len(errors) > before:
                    fielderrors.put_under(path, errors, before)
        if missing:
            present = {descriptor for descriptor, _ in message.ListFields()}
            absent = (checked[descriptor].path for descriptor in self.required if descriptor not in present)
            errors[start:start] = map(fielderrors.required, absent)


_PLANS: dict[str, Plan] = {}


def of(spec: Schema) -> Plan:
    """The plan of a message type; types may contain themselves."""
    plan = _PLANS.get(spec.full_name)
    if plan is None:
        _compile(spec)
        plan = _PLANS[spec.full_name]
    return plan


def _compile(root: Schema) -> None:
    types: dict[str, Schema] = {}
    _collect(root, types)
    defaulted = _closure(types, {name for name, spec in types.items() if any(item.rules.default for item in _items(spec))})
    checked = _closure(types, {name for name, spec in types.items() if any(map(_has_rules, _items(spec)))})
    # Plans refer to each other, so each is there before any is filled.
    plans = {name: _PLANS.get(name) or Plan() for name in types}
    for name, spec in types.items():
        if name not in _PLANS:
            _fill(plans[name], spec, {name: plans[name] for name in defaulted}, {name: plans[name] for name in checked})
    _PLANS.update(plans)


def _fill(plan: Plan, spec: Schema, defaulted: dict[str, Plan], checked: dict[str, Plan]) -> None:
    descriptors: Any = spec.cls.DESCRIPTOR
    by_name = descriptors.fields_by_name
    plan.defaults = tuple(
        Default(item.name, item.presence, manifest.resolve(item.rules.default)) for item in _items(spec) if item.rules.default
    )
    plan.required = tuple(by_name[item.name] for item in _items(spec) if item.required)
    for item in _items(spec):
        below, check = _below(item), _check(item, checked)
        if below is not None and below.full_name in defaulted:
            fill = defaulted[below.full_name].default
            plan.defaulted[by_name[item.name]] = Defaulted(item.repeated, in_place(fill) if item.name == "spec" else fill)
        if item.required or check is not None:
            plan.checked[by_name[item.name]] = Checked("" if item.inline else item.name, item.required, check)


def _items(spec: Schema) -> Iterable[Field]:
    return spec.fields.values()


def _below(item: Field) -> Schema | None:
    """The messages in a field, whose fields are walked too."""
    return None if item.map or item.unsupported else item.message


def _collect(spec: Schema, types: dict[str, Schema]) -> None:
    if spec.full_name not in types:
        types[spec.full_name] = spec
        for item in _items(spec):
            if item.message is not None and not item.map:
                _collect(item.message, types)


def _closure(types: dict[str, Schema], found: set[str]) -> set[str]:
    """The types in `found`, and those that contain one of them."""
    while True:
        more = {
            name for name, spec in types.items()
            if name not in found and any((below := _below(item)) and below.full_name in found for item in _items(spec))
        }  # fmt: skip
        if not more:
            return found
        found = found | more


def _has_rules(item: Field) -> bool:
    return item.required or item.unsupported or _check_of(item) is not None


def _check(item: Field, plans: dict[str, Plan]) -> Check | None:
    """The check of a field's value, or of each of its elements; None where there is nothing to check."""
    if item.unsupported:
        return _unsupported(item)
    below = _below(item)
    if below is None:
        check = _check_of(item)
    else:
        check = plans[below.full_name].validate if below.full_name in plans else None
        if item.name == "spec" and check is not None:
            check = _remembering(check)
    return _of_each(check) if item.repeated and check is not None else check


def _remembering(check: Check) -> Check:
    """The check of an object's spec, which many objects share."""

    def found(value: Any) -> tuple[Cause, ...]:
        errors: list[Cause] = []
        check(value, errors)
        return tuple(errors)

    remembered = Remembered(found)
    return lambda value, errors: errors.extend(remembered(value))


def _of_each(check: Check) -> Check:
    def check_all(values: Any, errors: list[Cause]) -> None:
        for index, value in enumerate(values):
            before = len(errors)
            check(value, errors)
            if len(errors) > before:
                fielderrors.put_under(f"[{index}]", errors, before)

    return check_all


def _unsupported(item: Field) -> Check:
    if item.rules.forbidden:
        error = fielderrors.forbidden("", item.rules.forbidden)
    else:
        error = Cause("", "Pinnace does not support this field yet", "FieldValueNotSupported")
    if item.rules.emptyAllowed:
        return lambda value, errors: errors.append(error) if value.ByteSize() else None
    return lambda _, errors: errors.append(error)


def _check_of(item: Field) -> Check | None:
    """The check of a scalar by its field options, None without any."""
    rules = item.rules
    if item.message is not None or item.map or not (rules.enum or rules.format or rules.HasField("minimum")):
        return None
    choices, presence = tuple(rules.enum), item.presence
    tests = [test for test in (_bounds(rules), _syntax(item, presence=presence) if rules.format else None) if test is not None]

    def check(value: Any, errors: list[Cause]) -> None:
        if choices and value not in choices and (value or presence):
            errors.append(fielderrors.not_supported("", value, choices))
        for test in tests:
            for detail in test(value):
                errors.append(fielderrors.invalid("", value, detail))

    return check


def _syntax(item: Field, *, presence: bool) -> Callable[[Any], list[str]]:
    """An empty value of a field without presence is an absent one."""
    table: dict[str, Callable[[Any], list[str]]] = formats.NUMBERS if item.type in ("int32", "int64") else formats.TEXTS
    test = table[item.rules.format]
    return test if presence else lambda value: test(value) if value else []


def _bounds(rules: options_pb2.FieldRules) -> Callable[[int], list[str]] | None:
    if not rules.HasField("minimum"):
        assert not rules.HasField("maximum"), "a maximum without a minimum"
        return None
    low, high = rules.minimum, rules.maximum if rules.HasField("maximum") else None
    if high is not None:
        text = formats.in_range(low, high)
        return lambda value: [] if low <= value <= high else [text]
    text = "must be greater than 0" if low == 1 else f"must be greater than or equal to {low}"
    return lambda value: [] if value >= low else [text]
