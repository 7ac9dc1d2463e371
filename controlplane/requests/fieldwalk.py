"""Which fields a JSON tree has, and which differ between two of them, along the schema.

A leaf of a set is a scalar, a value that is owned as a whole, or a struct or map that is there but empty. Items of a keyed list
that share a key have one element, a leaf: nothing tells their fields apart, so they are owned, replaced and removed together.
Source: structured-merge-diff's typed package (tofieldset.go, compare.go, `AllowDuplicates` of merge.go).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from controlplane.requests.fieldsets import LEAF, FieldSet, with_self
from pinnace.codec import CANONICAL
from pinnace.schematree import LIST, MAP, NO_ZERO, SCALAR, STRUCT, Node

JsonObject = Mapping[str, Any]


def owned(node: Node, value: JsonObject) -> FieldSet:
    """The fields that a manager owns who applies `value`, a STRUCT."""
    return _fields(node, value) or LEAF


def _fields(node: Node, value: JsonObject) -> FieldSet | None:
    out: FieldSet = {}
    children, unknown = node.children, node.unknown
    for key, item in value.items():
        child = children.get(key, unknown)
        if item is None or child is None:
            continue
        below = LEAF if child.leaf else _below(child, item)
        if below is not None:
            out["f:" + key] = below
    return out or None


def _below(node: Node, value: Any) -> FieldSet | None:
    """The set below the element of a value that is there. None: an empty list, which has no owner."""
    if node.leaf:
        return LEAF
    if node.form == STRUCT:
        return _fields(node, value) if value else LEAF
    if node.form == MAP:
        return {"f:" + key: entry(node, item) for key, item in value.items()} if value else LEAF
    return {key: entry(node, *items) for key, items in grouped(node, value).items()} or None


def entry(node: Node, *items: Any) -> FieldSet:
    """The set below the element of a map's value or of a list's items of one key: a member, with what it contains."""
    element = node.element
    if len(items) > 1 or element is None or items[0] is None:
        return LEAF
    return with_self(_below(element, items[0]) or LEAF)


def grouped(node: Node, values: Iterable[Any]) -> dict[str, list[Any]]:
    """The items of a list that is no atomic one by their path element, in their order."""
    out: dict[str, list[Any]] = {}
    for item in values:
        out.setdefault(element_of(node, item), []).append(item)
    return out


def element_of(node: Node, item: Any) -> str:
    """`k:{"name":"web"}` or `v:"x"`; a key that is absent takes its default, or else the zero of its type."""
    if node.set:
        return "v:" + scalar_text(item)
    assert node.element is not None
    parts = []
    for name in node.sorted_keys:
        value = item.get(name)
        if value is None:
            child = node.element.child(name)
            value = "" if child is None else implied(child)
            value = "" if value is NO_ZERO else value
        parts.append(f"{quoted(name)}:{scalar_text(value)}")
    return "k:{" + ",".join(parts) + "}"


def scalar_text(value: Any) -> str:
    return quoted(value) if type(value) is str else json.dumps(value, separators=(",", ":"), sort_keys=True, default=str)


@dataclass(slots=True)
class Comparison:
    """The fields of two values that differ. A leaf of either set stands for all that is below it as well."""

    # Present in the second value, and not the same in the first.
    changed: FieldSet = field(default_factory=dict)
    # Present in the first value only.
    removed: FieldSet = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed)

    def put(self, element: str, below: Comparison) -> None:
        if below.changed:
            self.changed[element] = below.changed
        if below.removed:
            self.removed[element] = below.removed


def compare(node: Node, before: JsonObject, after: JsonObject) -> Comparison:
    """What an update from `before` to `after`, both a STRUCT or a MAP, changes."""
    out = Comparison()
    for key, new in after.items():
        old = before.get(key)
        if old is new or new is None:
            continue
        child = node.child(key)
        if child is None:
            continue
        element = "f:" + key
        if old is None:
            below = entry(node, new) if node.form == MAP else None if new == child.zero else _below(child, new)
            if below is not None:
                out.changed[element] = below
        else:
            _compare_value(child, old, new, element, out)
    for key, old in before.items():
        if old is not None and after.get(key) is None:
            out.removed["f:" + key] = LEAF
    return out


def _compare_value(node: Node, old: Any, new: Any, element: str, out: Comparison) -> None:
    if node.leaf:
        if not same(node, old, new):
            out.changed[element] = LEAF
    elif node.form == LIST:
        out.put(element, _compare_lists(node, old, new))
    else:
        out.put(element, compare(node, old, new))


def same(node: Node, old: Any, new: Any) -> bool:
    """Whether two values mean the same, though a quantity may be written in many ways."""
    if old == new:
        return True
    if node.form == SCALAR:
        canonical = CANONICAL.get(node.scalar)
        return canonical is not None and bool(canonical(old) == canonical(new))
    if node.form == STRUCT:
        return all(_same_field(node.child(key), old.get(key), new.get(key)) for key in {**old, **new})
    if node.element is None or len(old) != len(new):
        return False
    if node.form == MAP:
        return old.keys() == new.keys() and all(same(node.element, old[key], new[key]) for key in new)
    return all(same(node.element, one, other) for one, other in zip(old, new, strict=True))


def _same_field(node: Node | None, old: Any, new: Any) -> bool:
    """Of which one side may be absent: then it has its default or its zero."""
    if node is None:
        return bool(old == new)
    old, new = (implied(node) if value is None else value for value in (old, new))
    return old is new or (old is not NO_ZERO and new is not NO_ZERO and same(node, old, new))


def implied(node: Node) -> Any:
    """The value of a field that is absent; NO_ZERO without any."""
    return node.default if node.default is not None else node.zero


def _compare_lists(node: Node, old: Any, new: Any) -> Comparison:
    out = Comparison()
    before, after = grouped(node, old), grouped(node, new)
    for element, items in after.items():
        were = before.get(element)
        if were is None:
            out.changed[element] = entry(node, *items)
        elif len(were) == len(items) == 1:
            if not node.set and node.element is not None and were[0] is not items[0]:
                _compare_value(node.element, were[0], items[0], element, out)
        elif len(were) != len(items) or not _same_items(node, were, items):
            # From or to several of one key.
            out.changed[element] = entry(node, *items)
    out.removed.update(dict.fromkeys(before.keys() - after.keys(), LEAF))
    return out


def _same_items(node: Node, old: list[Any], new: list[Any]) -> bool:
    return node.element is None or all(same(node.element, one, other) for one, other in zip(old, new, strict=True))
