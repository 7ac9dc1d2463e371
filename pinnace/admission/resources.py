"""Amounts of resources: requests, limits, overhead and capacity.

Source: core/v1's validateResourceRequirements and ValidateResourceQuantityValue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from pinnace import fielderrors, formats, quantity
from pinnace.admission import meta
from pinnace.errors import Cause

# What nodes can give to a container.
KNOWN = ("cpu", "memory", "ephemeral-storage")
# Counted, not measured.
_WHOLE = ("pods",)


def requirements(path: str, container: Any) -> Iterator[Cause]:
    """Errors of a container's requests and limits."""
    limits, requests = container.resources.limits, container.resources.requests
    yield from amounts(f"{path}.resources.limits", limits)
    yield from amounts(f"{path}.resources.requests", requests)
    for name, request in requests.items() if limits else ():
        limit = limits[name].string if name in limits else None
        most, asked = amount(limit or ""), amount(request.string)
        if most is not None and asked is not None and asked > most:
            text = f"must be less than or equal to {name} limit of {limit}"
            yield fielderrors.invalid(f"{path}.resources.requests", request.string, text)


def amounts(path: str, items: Mapping[str, Any]) -> Iterator[Cause]:
    """Errors of a map of resources that a pod asks for."""
    for name in items:
        if name not in KNOWN:
            yield from _unknown(f"{path}[{name[: formats.MAX_SUBDOMAIN]}]", name)
    yield from quantities(path, items)


def _unknown(field: str, name: str) -> Iterator[Cause]:
    wrong = list(meta.each(field, name, formats.qualified_name))
    if not wrong and "/" not in name and not name.startswith("hugepages-"):
        wrong.append(fielderrors.invalid(field, name, "must be a standard resource for containers"))
    known = ", ".join(KNOWN)
    text = f"Pinnace does not support this resource (supported: {known})"
    yield from wrong or (Cause(field, text, "FieldValueNotSupported"),)


def quantities(path: str, items: Mapping[str, Any]) -> Iterator[Cause]:
    """Errors of the amounts alone."""
    for name in items:
        text = items[name].string
        wrong = _wrong(text, whole=name in _WHOLE)
        if wrong:
            yield fielderrors.invalid(f"{path}[{name[: formats.MAX_SUBDOMAIN]}]", text, wrong)


def one_quantity(field: str, text: str, *, whole: bool) -> Iterator[Cause]:
    """Errors of an amount, which is a number of things where it is `whole`."""
    wrong = _wrong(text, whole=whole)
    if wrong:
        yield fielderrors.invalid(field, text, wrong)


def _wrong(text: str, *, whole: bool) -> str:
    found = amount(text)
    if found is None:
        return quantity.EXPECTED
    if found.numerator < 0:
        return "must be greater than or equal to 0"
    return "must be an integer" if whole and found.denominator != 1 else ""


def amount(text: str) -> Fraction | None:
    """The value of a quantity; None for what is none, which a protobuf body may hold."""
    try:
        return quantity.parse(text)
    except ValueError:
        return None
