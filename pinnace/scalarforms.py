"""Scalars between JSON and messages, with Kubernetes' rules for the types that JSON has no word for.

Source of the forms: apimachinery's meta.v1.Time, resource.Quantity and util/intstr.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pinnace import durations, quantity
from pinnace.apiextensions.v1 import customresource_pb2
from pinnace.authentication.v1 import authentication_pb2
from pinnace.fieldpaths import FieldError
from pinnace.jsontext import MAX_DEPTH, depth_exceeds, describe, json_text
from pinnace.meta.v1 import meta_pb2, scalars_pb2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The seconds that RFC 3339 can write, years 1 to 9999; a protobuf body may hold any.
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z", re.ASCII)
_BREAKS = dict.fromkeys(map(ord, "\r\n"))


def wrong(expected: str, value: Any) -> FieldError:
    """The error of a value of another type."""
    return FieldError(f"expected {expected}, got {describe(value)}")


def string(value: Any) -> str:
    """Raises FieldError for a value that is no string, or no Unicode."""
    if type(value) is not str:
        error = wrong("a string", value)
        # In YAML 5, 1.10 and true are no strings, whatever was meant.
        raise FieldError(f"{error.message} (put it in quotes)") if isinstance(value, (bool, int, float)) else error
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise FieldError("holds a character that is not valid Unicode") from None
    return value


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int:
            raise wrong("an integer", value)
        if not low <= value <= high:
            raise FieldError(f"expected an integer from {low} to {high}, got {describe(value)}")
        return value

    return convert


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise wrong("true or false", value)
    return value


def _bytes(value: Any) -> bytes:
    # The value may be a secret, so it is not shown, whatever it is.
    if not isinstance(value, str):
        raise FieldError("expected base64 data, as a string")
    try:
        # Line breaks are skipped, as in Go: `base64 FILE` breaks lines at 76 characters.
        return base64.b64decode(string(value).translate(_BREAKS), validate=True)
    except ValueError:
        raise FieldError("expected base64 data") from None


def _time(value: Any) -> scalars_pb2.Time:
    seconds, nanos = _instant(value)
    return scalars_pb2.Time(seconds=seconds, nanos=nanos)


def _microtime(value: Any) -> scalars_pb2.MicroTime:
    seconds, nanos = _instant(value)
    return scalars_pb2.MicroTime(seconds=seconds, nanos=nanos)


def parse_time(value: str) -> float:
    """Seconds since the epoch of an RFC 3339 text. Raises FieldError."""
    seconds, nanos = _instant(value)
    return seconds + nanos / 1e9


def _instant(value: Any) -> tuple[int, int]:
    error = wrong("a time with a zone, such as 2026-01-31T12:00:00Z", value)
    if not _RFC3339.match(string(value)):
        raise error
    try:
        delta = datetime.fromisoformat(value) - _EPOCH
    except ValueError:
        raise error from None
    seconds = delta.days * 86400 + delta.seconds
    if not FIRST_SECOND <= seconds <= LAST_SECOND:
        raise error
    return seconds, delta.microseconds * 1000


def _quantity(value: Any) -> scalars_pb2.Quantity:
    if type(value) in (int, float):
        value = repr(value)
    try:
        value = string(value).strip()
        quantity.parse(value)
    except ValueError as error:
        raise FieldError(str(error)) from None
    return scalars_pb2.Quantity(string=value)


def _duration(value: Any) -> scalars_pb2.Duration:
    try:
        return scalars_pb2.Duration(duration=durations.parse(string(value)))
    except ValueError as error:
        raise FieldError(str(error)) from None


def _int_or_string(value: Any) -> scalars_pb2.IntOrString:
    if type(value) is int:
        return scalars_pb2.IntOrString(type=0, intVal=_INT32(value))
    if type(value) is str:
        return scalars_pb2.IntOrString(type=1, strVal=string(value))
    raise wrong("an integer or a string", value)


def _raw(value: Any) -> meta_pb2.FieldsV1:
    if depth_exceeds(value):
        raise FieldError(f"nested deeper than {MAX_DEPTH} levels")
    return meta_pb2.FieldsV1(Raw=json.dumps(value, separators=(",", ":")).encode())


def _json(value: Any) -> customresource_pb2.JSON:
    return customresource_pb2.JSON(raw=json_text(value))


def _extra_value(value: Any) -> authentication_pb2.ExtraValue:
    if type(value) is not list:
        raise wrong("a list", value)
    return authentication_pb2.ExtraValue(items=map(string, value))


_INT32 = _integer(-(1 << 31), (1 << 31) - 1)
# What null means as an element of a list or a value of a map, as in Go's JSON.
ZEROS = {"string": "", "bytes": "", "bool": False, "int32": 0, "int64": 0, "duration": "0s", "quantity": "0", "intorstring": 0}
DECODERS: dict[str, Callable[[Any], Any]] = {
    "string": string, "bytes": _bytes, "bool": _bool, "int32": _INT32,
    "int64": _integer(-(1 << 63), (1 << 63) - 1), "time": _time, "microtime": _microtime, "quantity": _quantity,
    "duration": _duration, "intorstring": _int_or_string, "raw": _raw, "json": _json, "extravalue": _extra_value,
}  # fmt: skip


def format_time(seconds: int) -> str:
    """RFC 3339 in UTC, whole seconds; what no year of four digits holds becomes the nearest that does."""
    moment = _EPOCH + timedelta(seconds=min(max(seconds, FIRST_SECOND), LAST_SECOND))
    # Not strftime, whose %Y drops the zeros of early years.
    return moment.isoformat().removesuffix("+00:00") + "Z"


def _encode_microtime(value: scalars_pb2.MicroTime) -> str:
    micros = min(max(value.nanos // 1000, 0), 999_999)
    return f"{format_time(value.seconds)[:-1]}.{micros:06d}Z"


ENCODERS: dict[str, Callable[[Any], Any]] = {
    "bytes": lambda value: base64.b64encode(value).decode(),
    "time": lambda value: format_time(value.seconds),
    "microtime": _encode_microtime,
    "duration": lambda value: durations.render(value.duration),
    "quantity": lambda value: value.string,
    "intorstring": lambda value: value.strVal if value.type == 1 else value.intVal,
    "raw": lambda value: json.loads(value.Raw or b"{}"),
    "json": lambda value: json.loads(value.raw or b"null"),
    "extravalue": lambda value: list(value.items),
}


# How two JSON values of a scalar that can be written in several ways are compared; each function takes a valid value.
CANONICAL: dict[str, Callable[[Any], Any]] = {
    "quantity": lambda value: quantity.parse(value if type(value) is str else repr(value)),
    "duration": lambda value: durations.parse(value),
    "time": lambda value: _instant(value),
    "microtime": lambda value: _instant(value),
    "bytes": lambda value: _bytes(value),
}


def time_of(seconds: float) -> scalars_pb2.Time:
    """Kubernetes' Time: whole seconds."""
    return scalars_pb2.Time(seconds=int(seconds))


def microtime_of(seconds: float) -> scalars_pb2.MicroTime:
    micros = round(seconds * 1_000_000)
    return scalars_pb2.MicroTime(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def seconds_of(value: scalars_pb2.MicroTime | scalars_pb2.Time) -> float:
    return value.seconds + value.nanos / 1e9
