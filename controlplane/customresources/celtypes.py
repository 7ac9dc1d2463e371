"""Types of CEL for a schema: messages made from it, so that the checker knows each field and its type.

A value itself is given to the library as JSON data; see `converted`. Where protobuf has no type (lists of lists, values of
which nothing is known) the type is dynamic. Source: apiserver's pkg/cel/common/schemas.go and escaping.go.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from controlplane.customresources.structural import Structural
from pinnace import durations

_KEYWORDS = frozenset((
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop",
    "package", "namespace", "return", "var", "void", "while",
))  # fmt: skip
_ESCAPES = {".": "__dot__", "-": "__dash__", "/": "__slash__"}
PACKAGE = "self"
_TIMES = ("date-time", "date")
_TEXT = Structural(keywords={"type": "string", "maxLength": 253})


def escaped(name: str) -> str:
    """A field's name as rules write it; empty for a name that they cannot write."""
    if name in _KEYWORDS:
        return f"__{name}__"
    out = name.replace("__", "__underscores__")
    for char, text in _ESCAPES.items():
        out = out.replace(char, text)
    return out if out.isascii() and out.isidentifier() else ""


def kind_of(schema: Structural) -> str:
    """`message`, `map`, `list`, `dyn`, or the name of a scalar type of CEL."""
    if schema.int_or_string or not schema.type:
        return "dyn"
    if schema.type == "object":
        return "message" if schema.properties else "map" if isinstance(schema.additional, Structural) else "dyn"
    if schema.type == "string":
        name = schema.keywords.get("format", "")
        return "timestamp" if name in _TIMES else "duration" if name == "duration" else "bytes" if name == "byte" else "string"
    return {"array": "list", "integer": "int", "number": "double", "boolean": "bool"}[schema.type]


def root_of(schema: Structural) -> Structural:
    """The schema of a whole object as its rules see it: with apiVersion, kind and what metadata they may read."""
    known = {"name": _TEXT, "generateName": _TEXT}
    metadata = Structural(keywords={"type": "object"}, properties=dict(known))
    identity = {"apiVersion": _TEXT, "kind": _TEXT, "metadata": metadata}
    return Structural(
        keywords=schema.keywords, properties={**schema.properties, **identity}, items=schema.items,
        additional=False if schema.properties else schema.additional, required=schema.required, rules=schema.rules,
        ruled=schema.ruled,
    )  # fmt: skip


class Types:
    """The messages of one schema, in a descriptor pool of their own."""

    def __init__(self, schema: Structural) -> None:
        from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, struct_pb2, timestamp_pb2

        self._field = descriptor_pb2.FieldDescriptorProto
        self._file = descriptor_pb2.FileDescriptorProto(name="self.proto", package=PACKAGE, syntax="proto2")
        self._names: dict[int, str] = {}
        self.pool = descriptor_pool.DescriptorPool()
        for known in (duration_pb2, struct_pb2, timestamp_pb2):
            self.pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
            self._file.dependency.append(known.DESCRIPTOR.name)
        self.type_of(schema)
        self.pool.AddSerializedFile(self._file.SerializeToString())

    def type_of(self, schema: Structural) -> Any:
        """The type of `self` for a rule of this schema, which is the given one or one below it."""
        from cel_expr_python import cel

        form = kind_of(schema)
        if form == "message":
            return cel.Type(self._message(schema))
        if form == "list":
            return cel.Type.List(self.type_of(schema.items) if schema.items is not None else cel.Type.DYN)
        if form == "map":
            assert isinstance(schema.additional, Structural)
            return cel.Type.Map(cel.Type.STRING, self.type_of(schema.additional))
        return getattr(cel.Type, form.upper())

    def _message(self, schema: Structural) -> str:
        if id(schema) not in self._names:
            name = f"Object{len(self._names)}"
            self._names[id(schema)] = f"{PACKAGE}.{name}"
            message = self._file.message_type.add(name=name)
            numbers = (number for number in range(1, 1 << 29) if not 19_000 <= number < 20_000)
            # Two names of properties may be one when they are escaped: then no rule can tell them apart.
            fields = {escaped(key): below for key, below in schema.properties.items() if escaped(key)}
            taken = set(fields)
            for key, below in fields.items():
                self._add(message, key, next(numbers), below, taken)
            self._name_json(message)
        return self._names[id(schema)]

    def _name_json(self, message: Any) -> None:
        """Names that no two fields share: those that protobuf would derive are equal for `fooBar` and `foo_bar`."""
        for item in message.field:
            item.json_name = f"f{item.number}"

    def _add(self, message: Any, name: str, number: int, schema: Structural, taken: set[str]) -> None:
        """Add a field. `taken` holds the names of all fields of the message and of what is nested in it."""
        form = kind_of(schema)
        if form == "list" and schema.items is not None and kind_of(schema.items) not in ("list", "map", "dyn"):
            self.type_of(schema.items)
            message.field.add(name=name, number=number, label=self._field.LABEL_REPEATED, **self._type(schema.items))
        elif form == "map" and _entry_name(name) not in taken:
            taken.add(_entry_name(name))
            self._add_map(message, name, number, schema)
        elif form == "map":
            # Dynamic: protobuf wants this very name, which another map or a field has.
            message.field.add(name=name, number=number, label=self._field.LABEL_OPTIONAL, **self._type(Structural()))
        else:
            self.type_of(schema)
            message.field.add(name=name, number=number, label=self._field.LABEL_OPTIONAL, **self._type(schema))

    def _add_map(self, message: Any, name: str, number: int, schema: Structural) -> None:
        value = schema.additional
        assert isinstance(value, Structural)
        entry = message.nested_type.add(name=_entry_name(name))
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=self._field.LABEL_OPTIONAL, type=self._field.TYPE_STRING)
        self.type_of(value)
        entry.field.add(name="value", number=2, label=self._field.LABEL_OPTIONAL, **self._type(value))
        type_name = f".{PACKAGE}.{message.name}.{entry.name}"
        repeated, kind = self._field.LABEL_REPEATED, self._field.TYPE_MESSAGE
        message.field.add(name=name, number=number, label=repeated, type=kind, type_name=type_name)

    def _type(self, schema: Structural) -> dict[str, Any]:
        form, field = kind_of(schema), self._field
        scalars = {"string": field.TYPE_STRING, "bytes": field.TYPE_BYTES, "int": field.TYPE_INT64,
                   "double": field.TYPE_DOUBLE, "bool": field.TYPE_BOOL}  # fmt: skip
        if form in scalars:
            return {"type": scalars[form]}
        known = {"timestamp": ".google.protobuf.Timestamp", "duration": ".google.protobuf.Duration"}
        name = f".{self._message(schema)}" if form == "message" else known.get(form, ".google.protobuf.Value")
        return {"type": field.TYPE_MESSAGE, "type_name": name}


def _entry_name(field: str) -> str:
    """The name that protobuf demands of the entries of a map field: the same for `a_b` and `aB`."""
    return f"{''.join(part[:1].upper() + part[1:] for part in field.split('_'))}Entry"


def needs_conversion(schema: Structural) -> bool:
    """Whether values of a schema differ from their JSON in CEL: escaped names, times, bytes, doubles."""
    if kind_of(schema) in ("timestamp", "duration", "bytes", "double"):
        return True
    escapes = any(escaped(name) != name for name in schema.properties)
    return escapes or any(needs_conversion(below) for _, below in schema.nested())


def converted(value: Any, schema: Structural) -> Any:
    """A value as CEL has it. What does not fit the schema, or its format, stays as it is."""
    form = kind_of(schema)
    if isinstance(value, dict):
        return {
            (escaped(key) or key) if key in schema.properties else key: item if child is None else converted(item, child)
            for key, item in value.items()
            for child in (schema.child(key),)
        }
    if isinstance(value, list):
        return [converted(item, schema.items) for item in value] if schema.items is not None else value
    if form == "double" and type(value) is int:
        return float(value)
    if isinstance(value, str) and form in ("timestamp", "duration", "bytes"):
        return _scalar(value, form)
    return value


def _scalar(value: str, form: str) -> Any:
    from google.protobuf import duration_pb2, timestamp_pb2

    try:
        if form == "bytes":
            return base64.b64decode(value, validate=True)
        if form == "timestamp":
            moment = timestamp_pb2.Timestamp()
            moment.FromJsonString(value if "T" in value else f"{value}T00:00:00Z")
            return moment
        return _duration(value, duration_pb2.Duration())
    except (ValueError, binascii.Error):
        return value


def _duration(text: str, out: Any) -> Any:
    out.FromNanoseconds(durations.parse(text))
    return out
