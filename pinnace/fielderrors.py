"""Causes of an Invalid error, one function for each kind of field error, in Kubernetes' words.

Nothing else writes these phrases, so that an error reads the same whichever rule found it.
Source: apimachinery's util/validation/field.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pinnace.errors import Cause
from pinnace.fieldpaths import join

# Longest part of a value that an error repeats, in characters.
MAX_SHOWN = 256
_QUOTE = json.JSONEncoder(ensure_ascii=False).encode


def quoted(text: str) -> str:
    """A text in quotes, on one line."""
    return _QUOTE(text)


def shown(value: Any) -> str:
    """A value as an error shows it: strings quoted, everything else as JSON, and not too long."""
    text = value if isinstance(value, str) else None
    if text is not None:
        return quoted(text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "...")
    return json.dumps(value, default=str)[:MAX_SHOWN]


def invalid(field: str, value: Any, detail: str) -> Cause:
    """A value that breaks a rule of its field."""
    return Cause(field, f"Invalid value: {shown(value)}: {detail}")


def required(field: str, detail: str = "") -> Cause:
    """A field that is absent or empty."""
    return Cause(field, _joined("Required value", detail), "FieldValueRequired")


def forbidden(field: str, detail: str) -> Cause:
    """A value that would be good under other conditions."""
    return Cause(field, _joined("Forbidden", detail), "FieldValueForbidden")


def not_supported(field: str, value: Any, allowed: Iterable[str]) -> Cause:
    """A value that is none of the `allowed`."""
    choices = ", ".join(json.dumps(choice) for choice in allowed)
    return Cause(field, f"Unsupported value: {shown(value)}: supported values: {choices}", "FieldValueNotSupported")


def duplicate(field: str, value: Any, detail: str = "") -> Cause:
    """A value that must be unique and is not."""
    return Cause(field, _joined(f"Duplicate value: {shown(value)}", detail), "FieldValueDuplicate")


def not_found(field: str, value: Any) -> Cause:
    """The name of something that is not there."""
    return Cause(field, f"Not found: {shown(value)}", "FieldValueNotFound")


def too_long(field: str, most: int) -> Cause:
    """A text or a map above `most` bytes."""
    return Cause(field, f"Too long: may not be more than {most} bytes", "FieldValueTooLong")


def too_many(field: str, count: int, most: int) -> Cause:
    """A list of `count` items, above `most`."""
    return Cause(field, f"Too many: {count}: must have at most {most} items", "FieldValueTooMany")


def put_under(parent: str, causes: list[Cause], start: int = 0) -> None:
    """Let the paths of the causes from `start` on begin at `parent`, in place."""
    causes[start:] = [Cause(join(parent, cause.field), cause.message, cause.reason) for cause in causes[start:]]


def _joined(kind: str, detail: str) -> str:
    return f"{kind}: {detail}" if detail else kind
