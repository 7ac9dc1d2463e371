"""The fields that the creator of an object owns, from its message, as the text that managedFields stores (FieldsV1).

`fieldwalk.owned` finds the same from the object's JSON. Creations are many, so this walk makes no JSON and no trie; it is
compiled once for each message type. Custom objects, of which JSON shows keys that are no field, cannot be walked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cache, partial
from json.encoder import encode_basestring_ascii as quoted
from operator import attrgetter
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from controlplane.requests.fieldwalk import implied, scalar_text
from pinnace import schema, schematree, shownfields
from pinnace.remembered import Remembered
from pinnace.schema import Field, Schema
from pinnace.schematree import NO_ZERO, Node

# Path elements, each with the text of itself and what is below it; the elements are for the order.
Parts = list[tuple[str, str]]
# Texts that are kept of one message type.
MAX_SHAPES = 256
Shape = tuple[Any, ...]
_ELEMENTS = ("string", "bool", "int32", "int64")


class _Member(NamedTuple):
    """The part that one field of a message adds to the parts of the message."""

    element: str
    # The whole text of a leaf; of other fields the beginning, before the text of `below`.
    text: str
    below: Callable[[Any], str] | None
    # Of a field whose fields JSON lifts up.
    inlined: Struct | None = None
    # What `below` depends on.
    shape: Callable[[Any], Any] | None = None


@dataclass(slots=True)
class Struct:
    """The owned fields of one message type."""

    members: dict[FieldDescriptor, _Member] = field(default_factory=dict)
    # Leaves that JSON shows also when they are not set: name to part.
    always: dict[str, tuple[str, str]] = field(default_factory=dict)
    # Whether the shape is that of the message alone: all fields are leaves.
    flat: bool = False
    # Texts that were made, by shape.
    texts: dict[Shape, str] = field(default_factory=dict)

    def add_parts(self, message: Any, out: Parts) -> None:
        present = message.ListFields()
        if self.always:
            shown = {descriptor.name for descriptor, _ in present}
            out += [part for name, part in self.always.items() if name not in shown]
        for descriptor, value in present:
            member = self.members.get(descriptor)
            if member is None:
                continue
            element, text, below, inlined, _ = member
            if inlined is not None:
                inlined.add_parts(value, out)
            else:
                out.append((element, text if below is None else text + below(value)))

    def shape(self, message: Any) -> Shape:
        """What the text of a message follows from: its fields, without their values."""
        if self.flat:
            return tuple([descriptor for descriptor, _ in message.ListFields()])
        out: list[Any] = []
        for descriptor, value in message.ListFields():
            out.append(descriptor)
            member = self.members.get(descriptor)
            if member is not None and member.shape is not None:
                out.append(member.shape(value))
        return tuple(out)

    def known_text(self, message: Any) -> str:
        """The same as `text`, which is remembered: for messages that are made alike again and again, such as statuses."""
        shape = self.shape(message)
        found = self.texts.get(shape)
        if found is None:
            if len(self.texts) >= MAX_SHAPES:
                self.texts.clear()
            found = self.texts[shape] = self._made(message)
        return found

    def text(self, message: Any) -> str:
        # A flat shape is found faster than its text is made.
        return self.known_text(message) if self.flat else self._made(message)

    def _made(self, message: Any) -> str:
        parts: Parts = []
        self.add_parts(message, parts)
        return _joined(parts)

    def item_text(self, message: Any) -> str:
        """Of an item of a list or a value of a map, which is itself a member of the set."""
        text = self.text(message)
        return text if text == "{}" else '{".":{},' + text[1:]


def _joined(parts: Parts) -> str:
    parts.sort()
    return "{" + ",".join([text for _, text in parts]) + "}"


def owned(message: Any, unowned: frozenset[str], unowned_meta: frozenset[str]) -> bytes:
    """All fields of an object but for the `unowned` of its top level and of its metadata."""
    rest, metadata = _parts_of(message.DESCRIPTOR, unowned, unowned_meta)
    parts: Parts = []
    rest.add_parts(message, parts)
    text = metadata.text(message.metadata)
    if text != "{}":
        parts.append(("f:metadata", f'"f:metadata":{text}'))
    return _joined(parts).encode()


def owned_below(message: Any, name: str) -> bytes:
    """The fields below the message in field `name` of an object; `{}` without any, and for an object without that message."""
    if not message.HasField(name):
        return b"{}"
    text = _field_of(message.DESCRIPTOR, name).known_text(getattr(message, name))
    return b"{}" if text == "{}" else f'{{"f:{name}":{text}}}'.encode()


@cache
def _field_of(descriptor: Descriptor, name: str) -> Struct:
    below = schema.described_by(descriptor).fields[name].message
    assert below is not None
    return _of(below)


@cache
def _parts_of(descriptor: Descriptor, unowned: frozenset[str], unowned_meta: frozenset[str]) -> tuple[Struct, Struct]:
    """An object without its metadata, and the metadata."""
    spec = schema.described_by(descriptor)
    metadata = spec.fields["metadata"].message
    assert metadata is not None
    return _filled(Struct(), spec, unowned | {"metadata"}), _filled(Struct(), metadata, unowned_meta)


_STRUCTS: dict[str, Struct] = {}


def _of(spec: Schema) -> Struct:
    """Of all messages of one type. It is known before it is filled: a type may contain itself."""
    found = _STRUCTS.get(spec.full_name)
    if found is None:
        found = _STRUCTS[spec.full_name] = Struct()
        _filled(found, spec, frozenset())
    return found


def _filled(out: Struct, spec: Schema, without: Collection[str]) -> Struct:
    assert spec.rest is None, spec.full_name
    descriptor: Any = spec.cls.DESCRIPTOR
    nodes = schematree.of(spec.cls).children
    for name, item in spec.fields.items():
        if name not in without:
            member = _inlined(item) if item.inline else _member(item, nodes[name])
            out.members[descriptor.fields_by_name[name]] = member
    out.flat = all(member.shape is None for member in out.members.values())
    for name in shownfields.of(spec):
        member = out.members[descriptor.fields_by_name[name]]
        out.always[name] = (member.element, member.text)
    return out


def _inlined(item: Field) -> _Member:
    assert item.message is not None
    struct = _of(item.message)
    return _Member("", "", None, struct, struct.shape)


def _member(item: Field, node: Node) -> _Member:
    element = f"f:{item.name}"
    text = f"{quoted(element)}:"
    if node.leaf:
        return _Member(element, text + "{}", None)
    return _Member(element, text, _below(item, node), None, _shape_below(item, node))


def _below(item: Field, node: Node) -> Callable[[Any], str]:
    if item.map:
        return partial(_map_text, _item(item, node))
    if not item.repeated:
        assert item.message is not None
        text = _of(item.message).text
        # Many objects have the same.
        return Remembered(text) if item.name == "spec" else text
    if node.set:
        assert item.type in _ELEMENTS
        return _set_text
    assert item.message is not None
    keys = [_key(item.message, name, node) for name in node.sorted_keys]
    return partial(_list_text, keys, _item(item, node))


def _item(item: Field, node: Node) -> Callable[[Any], str] | None:
    """Writes the set below an item; None: the items are leaves."""
    assert node.element is not None
    return None if item.message is None or node.element.leaf else _of(item.message).item_text


def _shape_below(item: Field, node: Node) -> Callable[[Any], Any]:
    """What `_below` of the same field depends on."""
    element = node.element
    nested = None if item.message is None or (element is not None and element.leaf) else _of(item.message).shape
    if item.map:
        return frozenset if nested is None else lambda values: frozenset([(key, nested(values[key])) for key in values])
    if not item.repeated:
        assert nested is not None
        return nested
    if node.set:
        return frozenset
    assert item.message is not None
    key, *others = [attrgetter(".".join((*_found(item.message, name)[0], name))) for name in node.sorted_keys]
    if nested is not None and not others:
        return lambda values: tuple([(key(value), nested(value)) for value in values])
    # All that is set: an absent key is told from one that is zero.
    return lambda values: tuple([value.SerializeToString(deterministic=True) for value in values])


def _found(spec: Schema, name: str) -> tuple[tuple[str, ...], Field]:
    found = spec.find(name)
    assert found is not None
    return found


def _map_text(item: Callable[[Any], str] | None, values: Any) -> str:
    parts = [(key, f"{quoted('f:' + key)}:{'{}' if item is None else item(values[key])}") for key in values]
    return _joined(parts)


def _set_text(values: Any) -> str:
    """Members that are there twice have one element."""
    return _joined([(element, quoted(element) + ":{}") for element in {"v:" + scalar_text(value) for value in values}])


def _list_text(keys: list[Callable[[Any], str]], item: Callable[[Any], str] | None, values: Any) -> str:
    below: dict[str, str] = {}
    for value in values:
        element = "k:{" + ",".join([key(value) for key in keys]) + "}"
        # Items that share a key are owned together, as a leaf.
        below[element] = "{}" if element in below or item is None else item(value)
    return _joined([(element, f"{quoted(element)}:{text}") for element, text in below.items()])


def _key(spec: Schema, name: str, node: Node) -> Callable[[Any], str]:
    """Reads one key of an item, as `fieldwalk.element_of` writes it: an absent one has its default, or else its zero."""
    found, child = _found(spec, name), node.element and node.element.child(name)
    assert child is not None
    assert found[1].type in _ELEMENTS
    path, item, absent = found[0], found[1], implied(child)
    absent, begin = "" if absent is NO_ZERO else absent, quoted(name) + ":"

    def read(message: Any) -> str:
        for outer in path:
            message = getattr(message, outer)
        value = getattr(message, name)
        present = message.HasField(name) if item.presence else value
        return begin + scalar_text(value if present else absent)

    return read
