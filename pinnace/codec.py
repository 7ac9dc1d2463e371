"""JSON values to messages and back, by schema, with Kubernetes' rules for the types that JSON has no word for.

Decoding is strict: an unknown field or a wrong type is an error that names the path. Absent and null mean the same.
Source of the forms: apimachinery's meta.v1.Time, resource.Quantity and util/intstr.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from google.protobuf.message import Message

from pinnace import quantity, schema
from pinnace.errors import Cause, Invalid
from pinnace.meta.v1 import meta_pb2, scalars_pb2
from pinnace.schema import Field, Schema

M = TypeVar("M", bound=Message)
_UTC = UTC
_EPOCH = datetime(1970, 1, 1, tzinfo=_UTC)
# The seconds that RFC 3339 can write, years 1 to 9999; a protobuf body may hold any.
_FIRST, _LAST = -62_135_596_800, 253_402_300_799
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z", re.ASCII)
MAX_DEPTH = 64
# Longest key that a path shows.
MAX_SEGMENT = 80


class FieldError(Exception):
    """A value that does not fit; `path` grows towards the root as the error rises."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path

    def under(self, key: str | int) -> FieldError:
        self.path = join(segment(key), self.path)
        return self

    def invalid(self, kind: str = "", name: str = "") -> Invalid:
        cause = Cause(self.path, self.message)
        return Invalid(str(cause), kind=kind, name=name, causes=(cause,))


def segment(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    if len(key) <= MAX_SEGMENT and key.replace("-", "").replace("_", "").isalnum():
        return key
    # A lone surrogate is no text that the wire could carry.
    shown = key[:MAX_SEGMENT].encode("utf-8", "backslashreplace").decode()
    return f"[{shown}]"


def join(parent: str, child: str) -> str:
    """`a` and `b` make `a.b`; `a` and `[0]` make `a[0]`."""
    return parent + child if not parent or not child or child[0] == "[" else f"{parent}.{child}"


def decode(cls: type[M], value: Any) -> M:
    """A message from JSON data. Raises FieldError with the path of the first fault."""
    return cls(**_decode_message(schema.of(cls), value, 0))


def encode(message: Message) -> dict[str, Any]:
    """JSON data from a message: what is unset is absent."""
    return _encode_message(schema.of(message), message)


def describe(value: Any) -> str:
    """A value as an error shows it: short, and of its JSON type."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + ('..."' if text[0] == '"' else "...")


def _wrong(expected: str, value: Any) -> FieldError:
    return FieldError(f"expected {expected}, got {describe(value)}")


def _unknown(spec: Schema, key: Any) -> str:
    """With the field that was probably meant, when one is spelled almost so."""
    import difflib

    if not isinstance(key, str) or len(key) > 64:
        return "unknown field"
    known = {name.lower(): name for name, _, _ in schema.flatten(spec)}
    close = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.75)
    return f"unknown field (did you mean {known[close[0]]}?)" if close else "unknown field"


def _decode_message(spec: Schema, value: Any, depth: int) -> dict[str, Any]:
    if type(value) is not dict:
        raise _wrong("an object", value)
    if depth > MAX_DEPTH:
        raise FieldError(f"nested deeper than {MAX_DEPTH} levels")
    out: dict[str, Any] = {}
    for key, item in value.items():
        found = spec.fields.get(key)
        target = out
        if found is None or found.inline:
            resolved = spec.find(key) if isinstance(key, str) else None
            if resolved is None:
                raise FieldError(_unknown(spec, key)).under(str(key))
            names, found = resolved
            for name in names:
                target = target.setdefault(name, {})
        if item is None:
            continue
        try:
            target[found.name] = _decode_field(found, item, depth)
        except FieldError as error:
            raise error.under(key) from None
    return out


def _decode_field(item: Field, value: Any, depth: int) -> Any:
    if item.repeated:
        if type(value) is not list:
            raise _wrong("a list", value)
        return [_indexed(item, element, index, depth) for index, element in enumerate(value)]
    if item.map:
        if type(value) is not dict:
            raise _wrong("an object", value)
        return {_key(key): _indexed(item, element, key, depth) for key, element in value.items()}
    return _decode_value(item, value, depth)


def _key(key: Any) -> str:
    if type(key) is not str:
        raise FieldError(f"keys must be strings, got {describe(key)}")
    return _string(key)


def _indexed(item: Field, value: Any, key: str | int, depth: int) -> Any:
    try:
        if value is None and item.map:
            value = ""
        return _decode_value(item, value, depth)
    except FieldError as error:
        raise error.under(key) from None


def _decode_value(item: Field, value: Any, depth: int) -> Any:
    if item.message is not None:
        # A message in a map cannot be given as a dict of a dict; repeated and singular ones can.
        fields = _decode_message(item.message, value, depth + 1)
        return item.message.cls(**fields) if item.map else fields
    return _DECODERS[item.type](value)


def _string(value: Any) -> str:
    if type(value) is not str:
        wrong = _wrong("a string", value)
        # In YAML 5, 1.10 and true are no strings, whatever was meant.
        raise FieldError(f"{wrong.message} (put it in quotes)") if isinstance(value, (bool, int, float)) else wrong
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
            raise _wrong("an integer", value)
        if not low <= value <= high:
            raise FieldError(f"expected an integer from {low} to {high}, got {describe(value)}")
        return value

    return convert


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise _wrong("true or false", value)
    return value


def _bytes(value: Any) -> bytes:
    # The value may be a secret, so it is not shown, whatever it is.
    if not isinstance(value, str):
        raise FieldError("expected base64 data, as a string")
    try:
        return base64.b64decode(_string(value), validate=True)
    except (binascii.Error, ValueError):
        raise FieldError("expected base64 data") from None


def _time(value: Any) -> scalars_pb2.Time:
    seconds, nanos = _instant(value)
    return scalars_pb2.Time(seconds=seconds, nanos=nanos)


def _microtime(value: Any) -> scalars_pb2.MicroTime:
    seconds, nanos = _instant(value)
    return scalars_pb2.MicroTime(seconds=seconds, nanos=nanos)


def _instant(value: Any) -> tuple[int, int]:
    wrong = _wrong("a time with a zone, such as 2026-01-31T12:00:00Z", value)
    if not _RFC3339.match(_string(value)):
        raise wrong
    try:
        delta = datetime.fromisoformat(value) - _EPOCH
    except ValueError:
        raise wrong from None
    seconds = delta.days * 86400 + delta.seconds
    if not _FIRST <= seconds <= _LAST:
        raise wrong
    return seconds, delta.microseconds * 1000


def _quantity(value: Any) -> scalars_pb2.Quantity:
    if type(value) in (int, float):
        value = repr(value)
    try:
        quantity.parse(_string(value))
    except ValueError as error:
        raise FieldError(str(error)) from None
    return scalars_pb2.Quantity(string=value)


def _int_or_string(value: Any) -> scalars_pb2.IntOrString:
    if type(value) is int:
        return scalars_pb2.IntOrString(type=0, intVal=_INT32(value))
    if type(value) is str:
        return scalars_pb2.IntOrString(type=1, strVal=value)
    raise _wrong("an integer or a string", value)


def _raw(value: Any) -> meta_pb2.FieldsV1:
    return meta_pb2.FieldsV1(Raw=json.dumps(value, separators=(",", ":")).encode())


_INT32 = _integer(-(1 << 31), (1 << 31) - 1)
_DECODERS: dict[str, Callable[[Any], Any]] = {
    "string": _string, "bytes": _bytes, "bool": _bool, "int32": _INT32,
    "int64": _integer(-(1 << 63), (1 << 63) - 1), "time": _time, "microtime": _microtime, "quantity": _quantity,
    "intorstring": _int_or_string, "raw": _raw,
}  # fmt: skip


def _encode_message(spec: Schema, message: Message) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for descriptor, value in message.ListFields():
        item = spec.fields[descriptor.name]
        if item.inline:
            assert item.message is not None
            out.update(_encode_message(item.message, value))
        elif item.map:
            out[item.name] = {key: _encode_value(item, value[key]) for key in sorted(value)}
        elif item.repeated:
            out[item.name] = [_encode_value(item, element) for element in value]
        else:
            out[item.name] = _encode_value(item, value)
    for name in _always(spec.full_name):
        out.setdefault(name, getattr(message, name))
    return out


@cache
def _always(full_name: str) -> tuple[str, ...]:
    """Fields that Kubernetes writes even when they are zero, because readers rely on seeing them."""
    return {
        "pinnace.core.v1.ContainerStatus": ("ready", "restartCount", "image", "imageID"),
        "pinnace.core.v1.ContainerStateTerminated": ("exitCode",),
    }.get(full_name, ())


def _encode_value(item: Field, value: Any) -> Any:
    if item.message is not None:
        return _encode_message(item.message, value)
    encoder = _ENCODERS.get(item.type)
    return value if encoder is None else encoder(value)


def format_time(seconds: int) -> str:
    """RFC 3339 in UTC, whole seconds; what no year of four digits holds becomes the nearest that does."""
    moment = _EPOCH + timedelta(seconds=min(max(seconds, _FIRST), _LAST))
    # Not strftime, whose %Y drops the zeros of early years.
    return moment.isoformat().removesuffix("+00:00") + "Z"


def _encode_microtime(value: scalars_pb2.MicroTime) -> str:
    micros = min(max(value.nanos // 1000, 0), 999_999)
    return f"{format_time(value.seconds)[:-1]}.{micros:06d}Z"


_ENCODERS: dict[str, Callable[[Any], Any]] = {
    "bytes": lambda value: base64.b64encode(value).decode(),
    "time": lambda value: format_time(value.seconds),
    "microtime": _encode_microtime,
    "quantity": lambda value: value.string,
    "intorstring": lambda value: value.strVal if value.type == 1 else value.intVal,
    "raw": lambda value: json.loads(value.Raw or b"{}"),
}


def time_of(seconds: float) -> scalars_pb2.Time:
    """Kubernetes' Time: whole seconds."""
    return scalars_pb2.Time(seconds=int(seconds))


def microtime_of(seconds: float) -> scalars_pb2.MicroTime:
    micros = round(seconds * 1_000_000)
    return scalars_pb2.MicroTime(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def seconds_of(value: scalars_pb2.MicroTime | scalars_pb2.Time) -> float:
    return value.seconds + value.nanos / 1e9
