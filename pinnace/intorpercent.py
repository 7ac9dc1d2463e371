"""Numbers that may be a percentage of another one, as `maxSurge: 25%`.

Source: apimachinery's util/intstr (GetScaledValueFromIntOrPercent) and apps/validation (ValidatePositiveIntOrPercent).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pinnace import fielderrors
from pinnace.errors import Cause
from pinnace.meta.v1.scalars_pb2 import IntOrString

_PERCENT = re.compile(r"[0-9]+%")
# Digits of a percentage: more would be above any int32.
MAX_DIGITS = 9
_TEXT = (
    "a valid percent string must be a numeric string followed by an ending '%' "
    "(e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
)


def percent(text: str) -> IntOrString:
    return IntOrString(type=1, strVal=text)


def scaled(value: IntOrString, total: int, *, round_up: bool) -> int:
    """The number, or the share of `total`. 0 for a text that is not a percentage, which validation rejects."""
    if value.type == 0:
        return value.intVal
    if not _PERCENT.fullmatch(value.strVal) or len(value.strVal) > MAX_DIGITS + 1:
        return 0
    share = int(value.strVal[:-1]) * total
    return -(-share // 100) if round_up else share // 100


def validate(value: IntOrString, path: str) -> Iterator[Cause]:
    """Errors of a number that is not negative, or of a percentage."""
    if value.type == 0:
        if value.intVal < 0:
            yield fielderrors.invalid(path, value.intVal, "must be greater than or equal to 0")
    elif not _PERCENT.fullmatch(value.strVal):
        yield fielderrors.invalid(path, value.strVal, _TEXT)
    elif len(value.strVal) > MAX_DIGITS + 1:
        yield fielderrors.invalid(path, value.strVal, f"must have at most {MAX_DIGITS} digits")


def at_most_all(value: IntOrString, path: str) -> Iterator[Cause]:
    """The error of a percentage above 100."""
    if value.type == 1 and _PERCENT.fullmatch(value.strVal) and int(value.strVal[:-1][-MAX_DIGITS:]) > 100:
        yield fielderrors.invalid(path, value.strVal, "must not be greater than 100%")
