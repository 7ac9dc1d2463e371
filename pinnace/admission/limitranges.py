"""LimitRanges: bounds that agree with each other, and the defaults that follow from them.

Source: core/v1's ValidateLimitRange and SetDefaults_LimitRangeItem.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from pinnace import fielderrors, formats
from pinnace.admission import meta, resources
from pinnace.admission.kindrules import KindRules
from pinnace.core.v1.limitrange_pb2 import LimitRange
from pinnace.errors import Cause

CONTAINER, POD, CLAIM = "Container", "Pod", "PersistentVolumeClaim"
_MAPS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
# (smaller, larger, which of them the error is about, their names): each pair must be in this order.
_ORDERED = (
    ("min", "max", "min", "min value {} is greater than max value {}"),
    ("min", "defaultRequest", "defaultRequest", "min value {} is greater than default request value {}"),
    ("defaultRequest", "max", "defaultRequest", "default request value {} is greater than max value {}"),
    ("defaultRequest", "default", "defaultRequest", "default request value {} is greater than default limit value {}"),
    ("min", "default", "default", "min value {} is greater than default value {}"),
    ("default", "max", "default", "default value {} is greater than max value {}"),
)


def default(item: LimitRange) -> None:
    """A container's default limit is the maximum; its default request the default limit, or else the minimum."""
    for limit in item.spec.limits:
        if limit.type == CONTAINER:
            _fill(limit.default, limit.max)
            _fill(limit.defaultRequest, limit.default)
            _fill(limit.defaultRequest, limit.min)


def _fill(target: Any, source: Any) -> None:
    for name, value in source.items():
        if name not in target:
            target[name].CopyFrom(value)


def validate(item: LimitRange) -> list[Cause]:
    errors: list[Cause] = []
    types: set[str] = set()
    for index, limit in enumerate(item.spec.limits):
        path = f"spec.limits[{index}]"
        if limit.type in types:
            errors.append(fielderrors.duplicate(f"{path}.type", limit.type))
        types.add(limit.type)
        errors += [*_type(f"{path}.type", limit.type), *_names(path, limit), *_relations(path, limit)]
    return errors


def _type(field: str, name: str) -> Iterator[Cause]:
    if not name or name in (CONTAINER, POD, CLAIM):
        return
    yield from meta.each(field, name, formats.qualified_name)
    if "/" not in name:
        yield fielderrors.invalid(field, name, "must be a standard limit type or fully qualified")


def _names(path: str, limit: Any) -> Iterator[Cause]:
    for field in _MAPS:
        if limit.type == POD and field in ("default", "defaultRequest"):
            if getattr(limit, field):
                yield fielderrors.forbidden(f"{path}.{field}", "may not be specified when `type` is 'Pod'")
        elif limit.type in (CONTAINER, POD):
            yield from resources.amounts(f"{path}.{field}", getattr(limit, field))
        else:
            yield from resources.quantities(f"{path}.{field}", getattr(limit, field))
    if limit.type == CLAIM and "storage" not in limit.min and "storage" not in limit.max:
        text = "either minimum or maximum storage value is required, but neither was provided"
        yield fielderrors.required(f"{path}.limits", text)


def _relations(path: str, limit: Any) -> Iterator[Cause]:
    """Errors of bounds that contradict each other."""
    for name in sorted({name for field in _MAPS for name in getattr(limit, field)}):
        found = {field: _amount(limit, field, name) for field in _MAPS}
        for low, high, about, text in _ORDERED:
            smaller, larger = found[low], found[high]
            if smaller is not None and larger is not None and smaller > larger:
                shown = text.format(_text(limit, low, name), _text(limit, high, name))
                yield fielderrors.invalid(f"{path}.{about}[{name}]", _text(limit, about, name), shown)
        yield from _ratio(f"{path}.maxLimitRequestRatio[{name}]", _text(limit, "maxLimitRequestRatio", name), found)


def _ratio(field: str, shown: str, found: dict[str, Fraction | None]) -> Iterator[Cause]:
    ratio, low, high = found["maxLimitRequestRatio"], found["min"], found["max"]
    if ratio is None:
        return
    if ratio < 1:
        yield fielderrors.invalid(field, shown, f"ratio {shown} is less than 1")
    if low and high is not None and ratio > high / low:
        yield fielderrors.invalid(field, shown, f"ratio {shown} is greater than max/min = {float(high / low):f}")


def _amount(limit: Any, field: str, name: str) -> Fraction | None:
    items = getattr(limit, field)
    return resources.amount(items[name].string) if name in items else None


def _text(limit: Any, field: str, name: str) -> str:
    items = getattr(limit, field)
    return str(items[name].string) if name in items else ""


RULES: KindRules[LimitRange] = KindRules(default=default, validate=validate)
