"""Label selectors in objects (LabelSelector messages): their rules, and the labels that they match.

Selectors in text, as lists take them, are in `pinnace.selectors`.
Source: apimachinery's meta/v1/validation (ValidateLabelSelector) and LabelSelectorAsSelector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pinnace import fielderrors, formats
from pinnace.errors import Cause
from pinnace.meta.v1.meta_pb2 import LabelSelector, LabelSelectorRequirement
from pinnace.selectors import Requirement

_WITH_VALUES, _WITHOUT_VALUES = ("In", "NotIn"), ("Exists", "DoesNotExist")


def validate(selector: LabelSelector, path: str) -> Iterator[Cause]:
    """Every error of a selector at `path`."""
    for key, value in sorted(selector.matchLabels.items()):
        for detail in formats.qualified_name(key):
            yield fielderrors.invalid(f"{path}.matchLabels", key, detail)
        for detail in formats.label_value(value):
            yield fielderrors.invalid(f"{path}.matchLabels", value, detail)
    for index, item in enumerate(selector.matchExpressions):
        yield from _expression(item, f"{path}.matchExpressions[{index}]")


def _expression(item: LabelSelectorRequirement, path: str) -> Iterator[Cause]:
    if item.operator in _WITH_VALUES:
        if not item.values:
            yield fielderrors.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif item.operator in _WITHOUT_VALUES:
        if item.values:
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            yield fielderrors.forbidden(f"{path}.values", text)
    else:
        yield fielderrors.invalid(f"{path}.operator", item.operator, "not a valid selector operator")
    for detail in formats.qualified_name(item.key):
        yield fielderrors.invalid(f"{path}.key", item.key, detail)
    for index, value in enumerate(item.values):
        for detail in formats.label_value(value):
            yield fielderrors.invalid(f"{path}.values[{index}]", value, detail)


def requirements(selector: LabelSelector) -> tuple[Requirement, ...]:
    """All of these must match; an empty selector has none and matches every object."""
    equal = [Requirement(key, "In", (value,)) for key, value in selector.matchLabels.items()]
    return (*equal, *(Requirement(item.key, item.operator, tuple(item.values)) for item in selector.matchExpressions))


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether labels meet every requirement of a selector."""
    return all(requirement.matches(labels) for requirement in requirements(selector))


def text(selector: LabelSelector) -> str:
    """The selector as lists take it: `app=web,tier in (a,b),!old`. Empty for one that matches every object.

    Source: apimachinery's FormatLabelSelector."""
    return ",".join(requirement_text(requirement) for requirement in sorted(requirements(selector), key=lambda item: item.key))


def requirement_text(requirement: Requirement) -> str:
    """One requirement as lists take it."""
    values = sorted(requirement.values)
    match requirement.operator:
        case "Exists":
            return requirement.key
        case "DoesNotExist":
            return f"!{requirement.key}"
        case "In" if len(values) == 1:
            return f"{requirement.key}={values[0]}"
        case "Gt" | "Lt":
            return f"{requirement.key} {'>' if requirement.operator == 'Gt' else '<'} {values[0]}"
    return f"{requirement.key} {requirement.operator.lower()} ({','.join(values)})"
