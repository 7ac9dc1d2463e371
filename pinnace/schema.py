"""The schema of a message, read once from its protobuf descriptor: fields with their rules.

Codec, defaults, validation, apply and `kctl explain` all walk these instead of descriptors, which cost ten times more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from pinnace.meta.v1 import options_pb2

_SCALARS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
}
# Messages that JSON writes as a scalar, or as a list of texts.
_WELL_KNOWN = {
    "pinnace.meta.v1.Time": "time",
    "pinnace.meta.v1.MicroTime": "microtime",
    "pinnace.meta.v1.Duration": "duration",
    "pinnace.meta.v1.Quantity": "quantity",
    "pinnace.meta.v1.IntOrString": "intorstring",
    "pinnace.meta.v1.FieldsV1": "raw",
    "pinnace.apiextensions.v1.JSON": "json",
    "pinnace.authentication.v1.ExtraValue": "extravalue",
}
# What people call them.
_NAMES = {"int32": "integer", "int64": "integer", "bool": "boolean", "bytes": "base64", "time": "Time",
          "microtime": "MicroTime", "duration": "Duration", "quantity": "Quantity", "intorstring": "IntOrString",
          "raw": "FieldsV1", "json": "JSON", "extravalue": "[]string"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `type` is a scalar's name, a well-known one (`time`, `quantity`...) or `message`.

    For a map, `type` and `message` describe its values; keys are always strings.
    """

    name: str
    type: str
    repeated: bool
    map: bool
    # Whether "absent" differs from "zero".
    presence: bool
    message: Schema | None
    rules: options_pb2.FieldRules
    required: bool
    unsupported: bool
    inline: bool


@dataclass(slots=True)
class Schema:
    """All fields of one message, by their JSON name; `inlined` are the messages whose fields JSON lifts up."""

    name: str
    full_name: str
    cls: type[Message]
    # Whether apply owns a value as a whole.
    atomic: bool = False
    fields: dict[str, Field] = field(default_factory=dict)
    inlined: list[Field] = field(default_factory=list)
    # The codec's, made when they are first needed.
    encoders: dict[FieldDescriptor, Any] | None = field(default=None, repr=False)
    decoders: dict[str, Any] | None = field(default=None, repr=False)
    # The field that holds every JSON key which is no field, as one JSON value.
    rest: Field | None = None

    def find(self, key: str) -> tuple[tuple[str, ...], Field] | None:
        """A JSON key's field and the names of the inlined messages on the way to it."""
        found = self.fields.get(key)
        if found is not None and not found.inline:
            return (), found
        for outer in self.inlined:
            assert outer.message is not None
            deeper = outer.message.find(key)
            if deeper is not None:
                return (outer.name, *deeper[0]), deeper[1]
        return None


def of(message: Message | type[Message]) -> Schema:
    """The schema of a message or a message class."""
    descriptor: Any = message.DESCRIPTOR
    return described_by(descriptor)


def type_of(item: Field) -> str:
    """A field's type in the words of documentation: `[]Container`, `map[string]string`."""
    name = item.message.name if item.message is not None else _NAMES.get(item.type, item.type)
    return f"map[string]{name}" if item.map else f"[]{name}" if item.repeated else name


def flatten(spec: Schema) -> list[tuple[str, Field, Schema]]:
    """Fields as manifests have them: those of inlined messages among them, in order of name."""
    out: list[tuple[str, Field, Schema]] = []
    for name, item in spec.fields.items():
        if item.inline and item.message is not None:
            out += flatten(item.message)
        elif not item.inline:
            out.append((name, item, spec))
    return sorted(out, key=lambda entry: entry[0])


_SCHEMAS: dict[Descriptor, Schema] = {}


def described_by(descriptor: Descriptor) -> Schema:
    """The schema of a message's descriptor, always the same one."""
    found = _SCHEMAS.get(descriptor)
    if found is not None:
        return found
    options: Any = descriptor.GetOptions()
    atomic = options.Extensions[options_pb2.type_rules].atomic
    schema = Schema(descriptor.name, descriptor.full_name, message_factory.GetMessageClass(descriptor), atomic)
    # Known before its fields are read: a type may contain itself.
    _SCHEMAS[descriptor] = schema
    for item in descriptor.fields:
        built = _field(item)
        schema.fields[built.name] = built
        if built.inline and built.message is None:
            schema.rest = built
        elif built.inline:
            schema.inlined.append(built)
    return schema


def _field(item: FieldDescriptor) -> Field:
    value: Any = item
    options: Any = item.GetOptions()
    rules: options_pb2.FieldRules = options.Extensions[options_pb2.rules]
    nested: Any = item.message_type
    is_map = nested is not None and nested.GetOptions().map_entry
    if is_map:
        value = nested.fields_by_name["value"]
    inner = value.message_type
    kind = _WELL_KNOWN.get(inner.full_name, "message") if inner is not None else _SCALARS[value.type]
    return Field(
        name=item.name,
        type=kind,
        repeated=item.is_repeated and not is_map,
        map=is_map,
        presence=item.has_presence,
        message=described_by(inner) if kind == "message" else None,
        rules=rules,
        required=rules.required,
        unsupported=rules.unsupported,
        inline=rules.inline,
    )
