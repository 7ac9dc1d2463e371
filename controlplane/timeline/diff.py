"""What a write changed in an object: paths of fields with the value before and after, as short texts. Pure.

Messages are compared field by field and only what differs is turned into JSON, so the cost is that of the change. Items of a
list are told apart by their keys; a list without keys by its items' names, else by index. A limit bounds the number of
changes, and the length of each text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pinnace import codec, schema, schematree
from pinnace.fieldpaths import join, segment
from pinnace.kinds import Kind
from pinnace.schema import Schema
from pinnace.schematree import LIST, SCALAR, Node

# Changes of one write that are listed, and characters of a value.
MAX_CHANGES, MAX_TEXT = 64, 240
# Fields that every write changes, or that follow from another change.
_SKIPPED = ("metadata.resourceVersion", "metadata.generation", "metadata.managedFields")
# What client-side apply keeps: the whole manifest again, and of a Secret its data.
_APPLIED = "[kubectl.kubernetes.io/last-applied-configuration]"
# By which items of a list without keys are told apart.
_NAMES = ("name", "type", "ip", "key")


class Change(NamedTuple):
    """None: the field was, or is, absent; both: its values are concealed."""

    path: str
    old: str | None = None
    new: str | None = None

    @property
    def concealed(self) -> bool:
        return self.old is None and self.new is None


@dataclass(slots=True)
class Changes:
    """`truncated`: there are more than MAX_CHANGES."""

    found: list[Change] = field(default_factory=list)
    truncated: bool = False

    def add(self, change: Change) -> None:
        if len(self.found) < MAX_CHANGES:
            self.found.append(change)
        else:
            self.truncated = True


def of_messages(kind: Kind, old: Any, new: Any, *, concealed: tuple[str, ...] = ()) -> Changes:
    """What differs between two states of an object. Fields at or below a path of `concealed` are listed without values."""
    out = Changes()
    Walk(out, concealed).messages(schematree.of_kind(kind), schema.of(new), old, new, "")
    return out


@dataclass(slots=True)
class Walk:
    out: Changes
    concealed: tuple[str, ...]

    def messages(self, node: Node | None, spec: Schema, old: Any, new: Any, path: str) -> None:
        """`node` is of the same message, None where the schema does not describe it."""
        before = dict(old.ListFields())
        after = dict(new.ListFields())
        both = after if before.keys() == after.keys() else sorted({**before, **after}, key=lambda item: int(item.number))
        for descriptor in both:
            if self.out.truncated:
                return
            a, b = before.get(descriptor), after.get(descriptor)
            if a is not None and b is not None and a == b:
                continue
            item = spec.fields[descriptor.name]
            here = path if item.inline else join(path, item.name)
            if here in _SKIPPED and not item.inline:
                continue
            child = node if item.inline or node is None else node.child(item.name)
            if item.message is None or item.repeated or item.map:
                self.values(child, _encoded(spec, descriptor, a), _encoded(spec, descriptor, b), here)
            elif (a is None or b is None) and _is_empty(a if b is None else b):
                self.values(child, None if a is None else {}, None if b is None else {}, here)
            else:
                empty = item.message.cls()
                self.messages(child, item.message, empty if a is None else a, empty if b is None else b, here)

    def values(self, node: Node | None, old: Any, new: Any, path: str) -> None:
        """Two JSON values; None is an absent one."""
        if old == new and type(old) is type(new):
            return
        if self._conceals(path):
            self._list_concealed(old, new, path)
        elif isinstance(old, dict) or isinstance(new, dict):
            self._mappings(node, old, new, path)
        elif _holds_objects(old) or _holds_objects(new):
            self._lists(node, old, new, path)
        else:
            zero = _shown_zero(node)
            before, after = (_text(zero if value is None else value) for value in (old, new))
            # A zero that JSON shows in a new item.
            if before != after:
                self.out.add(Change(path, before, after))

    def _conceals(self, path: str) -> bool:
        if path.endswith(_APPLIED):
            return True
        return any(path == secret or path.startswith((f"{secret}.", f"{secret}[")) for secret in self.concealed)

    def _list_concealed(self, old: Any, new: Any, path: str) -> None:
        """One level of keys says which entry changed; no value is shown."""
        if not isinstance(old or {}, dict) or not isinstance(new or {}, dict):
            self.out.add(Change(path))
            return
        before, after = old or {}, new or {}
        changed = [key for key in sorted({**before, **after}) if before.get(key) != after.get(key)]
        for key in changed or [""]:
            self.out.add(Change(join(path, segment(key)) if key else path))

    def _mappings(self, node: Node | None, old: Any, new: Any, path: str) -> None:
        """One of them may be absent or no mapping."""
        before, after = (value if isinstance(value, dict) else {} for value in (old, new))
        if (old is not None and not isinstance(old, dict)) or (new is not None and not isinstance(new, dict)):
            self.out.add(Change(path, _text(old), _text(new)))
            return
        if not before and not after:
            self.out.add(Change(path, _text(old), _text(new)))
            return
        for key in dict.fromkeys([*before, *after]):
            if self.out.truncated:
                return
            child = None if node is None else node.child(key)
            self.values(child, before.get(key), after.get(key), join(path, segment(key)))

    def _lists(self, node: Node | None, old: Any, new: Any, path: str) -> None:
        """Lists of objects; one of them may be absent or something else."""
        if (old is not None and not isinstance(old, list)) or (new is not None and not isinstance(new, list)):
            self.out.add(Change(path, _text(old), _text(new)))
            return
        before, after = _keyed(node, old or (), new or ())
        element = node.element if node is not None and node.form == LIST else None
        for name in dict.fromkeys([*before, *after]):
            if self.out.truncated:
                return
            self.values(element, before.get(name), after.get(name), f"{path}[{name}]")


def _is_empty(message: Any) -> bool:
    return not message.ByteSize()


def _encoded(spec: Schema, descriptor: Any, value: Any) -> Any:
    return None if value is None else codec.encode_field(spec, descriptor, value)


def _shown_zero(node: Node | None) -> Any:
    """What an absent value is shown as: a number or a truth value that JSON leaves out is 0 or false."""
    return node.zero if node is not None and node.form == SCALAR and type(node.zero) in (int, bool) else None


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def _keyed(node: Node | None, old: Iterable[Any], new: Iterable[Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The items of two lists by what tells them apart in both."""
    before, after = list(old), list(new)
    for keys in _candidates(node):
        if (one := _by(keys, before)) is not None and (other := _by(keys, after)) is not None:
            return one, other
    return {str(at): item for at, item in enumerate(before)}, {str(at): item for at, item in enumerate(after)}


def _candidates(node: Node | None) -> Iterable[tuple[str, ...]]:
    if node is not None and node.map_keys:
        yield node.map_keys
    if node is not None and node.merge_key:
        yield (node.merge_key,)
    yield from ((name,) for name in _NAMES)


def _by(keys: tuple[str, ...], items: list[Any]) -> dict[str, Any] | None:
    """None unless every item has the keys and each its own."""
    out: dict[str, Any] = {}
    for item in items:
        if not isinstance(item, dict) or not any(key in item for key in keys):
            return None
        out[",".join(segment(str(item.get(key, ""))).strip("[]") for key in keys)] = item
    return out if len(out) == len(items) else None


def _text(value: Any) -> str | None:
    """A value for people: a string as it is, everything else as JSON."""
    if value is None:
        return None
    if isinstance(value, str):
        text = value
    else:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def only(changes: Changes, paths: tuple[str, ...]) -> bool:
    """Whether nothing but fields of `paths` changed."""
    return not changes.truncated and all(change.path in paths for change in changes.found)
