"""A document of OpenAPI v2 in protobuf, the only form that clients written in Go read. Pure.

The messages are a table: what JSON calls a field, its number, and how its value is encoded. Values of any type are texts in
YAML, of which JSON is a part. A field that the table does not have is left out.
Source: openapiv2/OpenAPIv2.proto of google/gnostic-models.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pinnace.protowire import varint

# A value in JSON to the fields of the protobuf message that have its number; several for a list.
Encoder = Callable[[int, Any], bytes]
_VARINT, _FIXED64, _LENGTH = 0, 1, 2


def encode(document: dict[str, Any]) -> bytes:
    return _DOCUMENT.encode(document)


class _Message:
    """`extensions` is the number of the field for keys that begin with `x-`; 0: the message has none."""

    def __init__(self, extensions: int = 0) -> None:
        self.fields: dict[str, tuple[int, Encoder]] = {}
        self._extensions = extensions

    def encode(self, value: Mapping[str, Any]) -> bytes:
        return b"".join(self._field(key, item) for key, item in value.items())

    def _field(self, key: str, item: Any) -> bytes:
        if key in self.fields:
            number, encoder = self.fields[key]
            return encoder(number, item)
        return _named(_any)(self._extensions, {key: item}) if self._extensions and key.startswith("x-") else b""

    def __call__(self, number: int, value: Any) -> bytes:
        return _field(number, self.encode(value))


def _field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | _LENGTH) + varint(len(content)) + content


def _text(number: int, value: Any) -> bytes:
    return _field(number, str(value).encode("utf-8", "replace"))


def _bool(number: int, value: Any) -> bytes:
    return varint(number << 3 | _VARINT) + (b"\1" if value else b"\0")


def _int(number: int, value: Any) -> bytes:
    # A negative number has the 64 bits of its two's complement.
    return varint(number << 3 | _VARINT) + varint(int(value) & 0xFFFF_FFFF_FFFF_FFFF)


def _double(number: int, value: Any) -> bytes:
    return varint(number << 3 | _FIXED64) + struct.pack("<d", value)


def _any(number: int, value: Any) -> bytes:
    return _field(number, _text(2, json.dumps(value, separators=(",", ":"))))


def _wrapped(only: int, inner: Encoder) -> Encoder:
    """In a message with one field, which JSON does not show."""

    def encoded(number: int, value: Any) -> bytes:
        return _field(number, inner(only, value))

    return encoded


def _list(inner: Encoder) -> Encoder:
    def encoded(number: int, values: Iterable[Any]) -> bytes:
        return b"".join(inner(number, value) for value in values)

    return encoded


def _named(inner: Encoder) -> Encoder:
    """The entries of an object, each as a message of its key and its value."""

    def encoded(number: int, values: Mapping[str, Any]) -> bytes:
        return b"".join(_field(number, _text(1, key) + inner(2, value)) for key, value in values.items())

    return encoded


def _or_bool(number: int, value: Any) -> bytes:
    """Of additionalProperties."""
    return _field(number, _bool(2, value) if isinstance(value, bool) else _SCHEMA(1, value))


def _parameter(number: int, value: Any) -> bytes:
    """Of a list of parameters: a reference is never one of them, and each is of the body, the query or the path."""
    if value["in"] == "body":
        return _field(number, _field(1, _BODY(1, value)))
    return _field(number, _field(1, _field(2, _QUERY(3, value) if value["in"] == "query" else _PATH_PARAMETER(4, value))))


_SCHEMA, _BODY, _QUERY, _PATH_PARAMETER = _Message(31), _Message(6), _Message(23), _Message(22)
_RESPONSE, _OPERATION, _PATH_ITEM, _INFO, _DOCUMENT = _Message(5), _Message(13), _Message(10), _Message(7), _Message(16)
_EXTERNAL_DOCS = _Message(3)
_EXTERNAL_DOCS.fields = {"description": (1, _text), "url": (2, _text)}
_SCHEMA.fields = {
    "$ref": (1, _text), "format": (2, _text), "title": (3, _text), "description": (4, _text), "default": (5, _any),
    "multipleOf": (6, _double), "maximum": (7, _double), "exclusiveMaximum": (8, _bool), "minimum": (9, _double),
    "exclusiveMinimum": (10, _bool), "maxLength": (11, _int), "minLength": (12, _int), "pattern": (13, _text),
    "maxItems": (14, _int), "minItems": (15, _int), "uniqueItems": (16, _bool), "maxProperties": (17, _int),
    "minProperties": (18, _int), "required": (19, _list(_text)), "enum": (20, _list(_any)),
    "additionalProperties": (21, _or_bool), "type": (22, _wrapped(1, _text)), "items": (23, _wrapped(1, _SCHEMA)),
    "properties": (25, _wrapped(1, _named(_SCHEMA))),
    "externalDocs": (29, _EXTERNAL_DOCS), "example": (30, _any),
}  # fmt: skip
_BODY.fields = {"description": (1, _text), "name": (2, _text), "in": (3, _text), "required": (4, _bool), "schema": (5, _SCHEMA)}
_QUERY.fields = {
    "required": (1, _bool), "in": (2, _text), "description": (3, _text), "name": (4, _text), "type": (6, _text),
    "format": (7, _text),
}  # fmt: skip
_PATH_PARAMETER.fields = {
    "required": (1, _bool), "in": (2, _text), "description": (3, _text), "name": (4, _text), "type": (5, _text),
    "format": (6, _text),
}  # fmt: skip
_RESPONSE.fields = {"description": (1, _text), "schema": (2, _wrapped(1, _SCHEMA))}
_OPERATION.fields = {
    "description": (3, _text), "operationId": (5, _text), "produces": (6, _list(_text)), "consumes": (7, _list(_text)),
    "parameters": (8, _list(_parameter)), "responses": (9, _wrapped(1, _named(_wrapped(1, _RESPONSE)))),
    "schemes": (10, _list(_text)),
}  # fmt: skip
_PATH_ITEM.fields = {
    "get": (2, _OPERATION), "put": (3, _OPERATION), "post": (4, _OPERATION), "delete": (5, _OPERATION),
    "patch": (8, _OPERATION), "parameters": (9, _list(_parameter)),
}  # fmt: skip
_INFO.fields = {"title": (1, _text), "version": (2, _text)}
_DOCUMENT.fields = {
    "swagger": (1, _text), "info": (2, _INFO), "paths": (8, _wrapped(2, _named(_PATH_ITEM))),
    "definitions": (9, _wrapped(1, _named(_SCHEMA))),
}  # fmt: skip
