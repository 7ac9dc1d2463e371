"""Columns of custom kinds: the printer columns of their definition.

Source: apiextensions-apiserver's pkg/registry/customresource/tableconvertor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

from controlplane.resources.columns import NAME, NAME_AND_AGE, Cell, Column, Columns
from pinnace import codec, formats, humantime
from pinnace.apiextensions.v1.customresource_pb2 import CustomResource
from pinnace.apiextensions.v1.customresourcedefinition_pb2 import CustomResourceColumnDefinition
from pinnace.errors import BadRequest
from pinnace.jsonpath import Template, gotext

# Characters of a cell: a path may lead to a whole object.
MAX_TEXT = 16 << 10


def of_version(api_version: str, kind: str, listed: list[CustomResourceColumnDefinition]) -> Columns[CustomResource]:
    """The columns of one version of a custom kind; NAME and AGE if its definition has none."""
    if not listed:
        return NAME_AND_AGE
    readers = [_Reader(item) for item in listed]

    def cells(item: CustomResource, now: float) -> tuple[Cell, ...]:
        document = {**codec.encode(item), "apiVersion": api_version, "kind": kind}
        return item.metadata.name, *(reader.cell(document, now) for reader in readers)

    return Columns((NAME, *map(_column, listed)), cells)


def _column(item: CustomResourceColumnDefinition) -> Column:
    described = item.description or f"Custom resource definition column (in JSONPath format): {item.jsonPath}"
    return Column(item.name, item.type, item.format, described, item.priority)


class _Reader:
    """One column's path, parsed when the first object is shown."""

    def __init__(self, item: CustomResourceColumnDefinition) -> None:
        self._path = item.jsonPath
        self._convert = _CONVERSIONS.get(item.type, _nothing)

    @cached_property
    def _template(self) -> Template | None:
        try:
            return Template(f"{{{self._path}}}")
        except BadRequest:
            # Of a definition that was stored before its paths were parsed.
            return None

    def cell(self, document: dict[str, Any], now: float) -> Cell:
        """Null for a path that does not fit this object: the other cells and objects are shown."""
        try:
            found = self._template.first(document) if self._template is not None else []
        except BadRequest:
            return None
        return self._convert(found[0], now) if found else None


def _nothing(value: Any, now: float) -> Cell:
    return None


def _string(value: Any, now: float) -> Cell:
    text = gotext.printed(value)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."


def _integer(value: Any, now: float) -> Cell:
    number = _number(value, now)
    if number is None:
        return None
    whole = int(value)
    return whole if whole in formats.INT64 else None


def _number(value: Any, now: float) -> float | None:
    """JSON numbers may be larger than any float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _boolean(value: Any, now: float) -> Cell:
    return value if isinstance(value, bool) else None


def _date(value: Any, now: float) -> Cell:
    """The time since then."""
    if not isinstance(value, str):
        return None
    if not value:
        return humantime.UNKNOWN
    try:
        return humantime.duration(now - codec.parse_time(value))
    except codec.FieldError:
        return "<invalid>"


_CONVERSIONS: dict[str, Callable[[Any, float], Cell]] = {
    "string": _string, "integer": _integer, "number": _number, "boolean": _boolean, "date": _date,
}  # fmt: skip
