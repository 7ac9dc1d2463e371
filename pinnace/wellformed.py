"""The check that a message decoded from protobuf could also have come from JSON: protobuf has no types for these values.

A quantity is text, a time any number of seconds. Code after this check relies on them being valid.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from pinnace import codec, fielderrors, quantity, schema
from pinnace.codec import FIRST_SECOND, LAST_SECOND, MAX_DEPTH, join
from pinnace.errors import Cause, Invalid
from pinnace.kinds import Kind
from pinnace.schema import Schema


def check(kind: Kind, message: Any) -> None:
    """Raises Invalid with every value that JSON could not express."""
    found: list[Cause] = []
    _message(schema.of(message), message, "", found, 0)
    if found:
        raise Invalid.of(kind.group_kind, message.metadata.name[:253], tuple(found))


def _message(spec: Schema, message: Any, path: str, found: list[Cause], depth: int) -> None:
    if depth > MAX_DEPTH:
        found.append(Cause(path, f"nested deeper than {MAX_DEPTH} levels"))
        return
    for descriptor, value in message.ListFields():
        item = spec.fields[descriptor.name]
        test = partial(_rest, spec) if item is spec.rest else _CHECKS.get(item.type)
        if item.message is None and test is None:
            continue
        here = path if item.inline else join(path, item.name)
        if item.map:
            values = [(f"{here}[{key[:253]}]", element) for key, element in value.items()]
        elif item.repeated:
            values = [(f"{here}[{index}]", element) for index, element in enumerate(value)]
        else:
            values = [(here, value)]
        for where, element in values:
            if item.message is not None:
                _message(item.message, element, where, found, depth + 1)
            elif test is not None and (error := test(element)):
                found.append(fielderrors.invalid(where, *error))


def _quantity(value: Any) -> tuple[str, str] | None:
    try:
        quantity.parse(value.string)
    except ValueError:
        return value.string, quantity.EXPECTED
    return None


def _json_value(value: Any) -> tuple[str, str] | None:
    # Without a text it is null, as the codec has it.
    try:
        good = codec.json_text(codec.load_json(value.raw or b"null")) == (value.raw or b"null")
    except (ValueError, RecursionError, codec.FieldError):
        good = False
    return None if good else ("...", "must be JSON, without spaces and with its keys in order")


def _rest(spec: Schema, value: Any) -> tuple[str, str] | None:
    """The fields of an object that its message does not have: in JSON they stand beside those that it has."""
    wrong = _json_value(value)
    if wrong is not None:
        return wrong
    fields = json.loads(value.raw or b"{}")
    if not isinstance(fields, dict):
        return "...", "must be a JSON object"
    twice = sorted(fields.keys() & {name for name, item in spec.fields.items() if not item.inline})
    return (twice[0], "must not be a field that the message has") if twice else None


def _time(value: Any) -> tuple[int, str] | None:
    good = FIRST_SECOND <= value.seconds <= LAST_SECOND and 0 <= value.nanos < 1_000_000_000
    return None if good else (value.seconds, "must be a time from year 1 to year 9999")


def _int_or_string(value: Any) -> tuple[int, str] | None:
    return None if value.type in (0, 1) else (value.type, "must be 0 (a number) or 1 (a string)")


def _raw(value: Any) -> tuple[str, str] | None:
    return None if is_object(value.Raw) else ("", "must be a JSON object")


def is_object(raw: bytes) -> bool:
    """Whether the text of a field set is a JSON object; empty, it means an empty one."""
    try:
        return isinstance(codec.load_json(raw or b"{}"), dict)
    except ValueError:
        return False


_CHECKS: dict[str, Callable[[Any], tuple[Any, str] | None]] = {
    "quantity": _quantity, "time": _time, "microtime": _time, "intorstring": _int_or_string, "raw": _raw, "json": _json_value,
}  # fmt: skip
