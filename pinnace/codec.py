"""JSON values to messages and back, by schema. `scalarforms` has the forms of single values.

Decoding is strict: an unknown field or a wrong type is an error that names the path. Absent and null mean the same. What to do
with each field is worked out once for each message type, when its first message comes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NamedTuple, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from pinnace import schema, shownfields
from pinnace.fieldpaths import FieldError as FieldError
from pinnace.fieldpaths import join as join
from pinnace.fieldpaths import segment as segment
from pinnace.jsontext import describe as describe
from pinnace.jsontext import json_text as json_text
from pinnace.jsontext import load_json as load_json
from pinnace.scalarforms import CANONICAL as CANONICAL
from pinnace.scalarforms import DECODERS, ENCODERS, ZEROS, string, wrong
from pinnace.scalarforms import FIRST_SECOND as FIRST_SECOND
from pinnace.scalarforms import LAST_SECOND as LAST_SECOND
from pinnace.scalarforms import format_time as format_time
from pinnace.scalarforms import microtime_of as microtime_of
from pinnace.scalarforms import parse_time as parse_time
from pinnace.scalarforms import seconds_of as seconds_of
from pinnace.scalarforms import time_of as time_of
from pinnace.schema import Field, Schema

M = TypeVar("M", bound=Message)
T = TypeVar("T")
# Levels of messages in messages.
MAX_DEPTH = 64
# Of a JSON value and the number of messages around it. Raises FieldError.
Decoder = Callable[[Any, int], Any]


def decode(cls: type[M], value: Any) -> M:
    """A message from JSON data. Raises FieldError with every value that does not fit."""
    return cls(**_decode_message(schema.of(cls), value, 0))


def merge(message: Message, value: dict[str, Any]) -> None:
    """Decode fields into a message that has none of them. Raises FieldError with every value that does not fit."""
    decoded = _decode_message(schema.of(message), value, 0)
    if any(isinstance(item, dict | list | Message) for item in decoded.values()):
        message.MergeFrom(type(message)(**decoded))
        return
    for name, item in decoded.items():
        setattr(message, name, item)


def encode(message: Message, *, without: Collection[str] = ()) -> dict[str, Any]:
    """JSON data from a message: what is unset is absent. `without` are fields of the top level to leave out."""
    return _encode_message(schema.of(message), message, without)


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
        raise wrong("an object", value)
    if depth > MAX_DEPTH:
        raise FieldError(f"nested deeper than {MAX_DEPTH} levels")
    if spec.rest is not None:
        value = _gather_rest(spec, spec.rest.name, value)
    decoders = spec.decoders or _compile(spec)
    out: dict[str, Any] = {}
    errors: FieldError | None = None
    for key, item in value.items():
        target, decoder = out, decoders.get(key)
        try:
            if decoder is None:
                target, key, decoder = _inlined(spec, key, out)
            if item is not None:
                target[key] = decoder(item, depth)
        except FieldError as error:
            errors = _gather(errors, error, str(key))
            if error.partial is not None:
                target[key] = error.partial
            if errors.full:
                break
    return _settle(out, errors)


def _inlined(spec: Schema, key: Any, out: dict[str, Any]) -> tuple[dict[str, Any], str, Decoder]:
    """Where the field of an inlined message goes, its name, and its decoder. Raises FieldError for an unknown field."""
    resolved = spec.find(key) if isinstance(key, str) else None
    if resolved is None:
        raise FieldError(_unknown(spec, key))
    names, found = resolved
    for name in names:
        out = out.setdefault(name, {})
    return out, found.name, _decoder(found)


def _gather_rest(spec: Schema, name: str, value: dict[str, Any]) -> dict[str, Any]:
    rest = {key: item for key, item in value.items() if key not in spec.fields or key == name}
    return {**{key: item for key, item in value.items() if key not in rest}, **({name: rest} if rest else {})}


def _gather(errors: FieldError | None, error: FieldError, key: str | int) -> FieldError:
    error.under(key)
    if errors is None:
        return error
    errors.add(error)
    return errors


def _settle(out: T, errors: FieldError | None) -> T:
    """`out`, unless there are errors. Raises FieldError."""
    if errors is None:
        return out
    errors.partial = out
    raise errors


def _compile(spec: Schema) -> dict[str, Decoder]:
    """The decoders of the fields that are keys themselves."""
    spec.decoders = {item.name: _decoder(item) for item in spec.fields.values() if not item.inline or item is spec.rest}
    return spec.decoders


def _decoder(item: Field) -> Decoder:
    one = _value_decoder(item)
    zero = ZEROS.get(item.type)
    if item.repeated:
        return partial(_decode_list, one, zero)
    return partial(_decode_map, one, zero) if item.map else one


def _value_decoder(item: Field) -> Decoder:
    below = item.message
    if below is None:
        scalar = DECODERS[item.type]
        return lambda value, _: scalar(value)
    if item.map:
        # A message in a map cannot be given as a dict of a dict; repeated and singular ones can.
        return lambda value, depth: below.cls(**_decode_message(below, value, depth + 1))
    return lambda value, depth: _decode_message(below, value, depth + 1)


def _decode_list(one: Decoder, zero: Any, value: Any, depth: int) -> list[Any]:
    """`zero` is the element that null stands for; None for messages, where null is an error."""
    if type(value) is not list:
        raise wrong("a list", value)
    out: list[Any] = []
    errors: FieldError | None = None
    for index, element in enumerate(value):
        try:
            out.append(one(zero if element is None else element, depth))
        except FieldError as error:
            errors = _gather(errors, error, index)
            if errors.full:
                break
            # Something in its place, so that the others keep their index.
            instead = {} if zero is None else one(zero, depth)
            out.append(instead if error.partial is None else error.partial)
    return _settle(out, errors)


def _decode_map(one: Decoder, zero: Any, value: Any, depth: int) -> dict[str, Any]:
    if type(value) is not dict:
        raise wrong("an object", value)
    out: dict[str, Any] = {}
    errors: FieldError | None = None
    for key, element in value.items():
        try:
            out[_key(key)] = one(zero if element is None else element, depth)
        except FieldError as error:
            errors = _gather(errors, error, str(key))
            if errors.full:
                break
    return _settle(out, errors)


def _key(key: Any) -> str:
    if type(key) is not str:
        raise FieldError(f"keys must be strings, got {describe(key)}")
    return string(key)


class _Encoded(NamedTuple):
    """How a field is written. `encoder` None: its value is JSON already."""

    name: str
    encoder: Callable[[Any], Any] | None
    inline: bool


def _encode_message(spec: Schema, message: Message, without: Collection[str] = ()) -> dict[str, Any]:
    encoders = spec.encoders or _compile_encoders(spec)
    out: dict[str, Any] = {}
    for descriptor, value in message.ListFields():
        name, encoder, inline = encoders[descriptor]
        if name in without:
            continue
        if encoder is None:
            out[name] = value
        elif inline:
            out.update(encoder(value))
        else:
            out[name] = encoder(value)
    for name in shownfields.of(spec):
        if name not in out and name not in without:
            out[name] = [] if spec.fields[name].repeated else getattr(message, name)
    return out


def encode_field(spec: Schema, descriptor: FieldDescriptor, value: Any) -> Any:
    """JSON data from the value of one field of a message of this schema, as ListFields returns it."""
    encoder = (spec.encoders or _compile_encoders(spec))[descriptor].encoder
    return value if encoder is None else encoder(value)


def _compile_encoders(spec: Schema) -> dict[FieldDescriptor, _Encoded]:
    descriptor: Any = spec.cls.DESCRIPTOR
    spec.encoders = {
        descriptor.fields_by_name[name]: _Encoded(name, _encoder(item), item.inline) for name, item in spec.fields.items()
    }
    return spec.encoders


def _encoder(item: Field) -> Callable[[Any], Any] | None:
    """The function that turns a field's value into JSON; None: it is JSON already."""
    below = item.message
    one = ENCODERS.get(item.type) if below is None else partial(_encode_message, below)
    if item.inline and below is None:
        return lambda value: json.loads(value.raw or b"{}")
    if item.map:
        return lambda value: {key: value[key] if one is None else one(value[key]) for key in sorted(value)}
    if item.repeated:
        return list if one is None else lambda value: [one(element) for element in value]
    return one
