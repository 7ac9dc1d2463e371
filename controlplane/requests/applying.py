"""How an applied configuration becomes part of an object: merged in, and what its manager no longer applies taken out.

Both functions share what they leave as it is with their argument, so that a comparison by identity finds it unchanged.
Source: structured-merge-diff's typed/merge.go and remove.go, and `prune` of merge/update.go.
"""

from __future__ import annotations

import operator
from typing import Any

from controlplane.requests.fieldsets import LEAF, FieldSet, is_member
from controlplane.requests.fieldwalk import JsonObject, element_of, grouped, same
from pinnace.schematree import MAP, STRUCT, Node

_GONE = object()


def merge(node: Node, live: JsonObject, applied: JsonObject) -> JsonObject:
    """`live` with everything of `applied` put into it; both are a STRUCT or a MAP."""
    out: dict[str, Any] | None = None
    children, other = node.children, node.element if node.form == MAP else node.unknown
    for key, value in applied.items():
        child = children.get(key, other)
        if value is None or child is None:
            continue
        old = live.get(key)
        if old is None and value == child.zero and node.form == STRUCT:
            continue
        new = value if old is None else _merge_value(child, old, value)
        if new is not old:
            out = dict(live) if out is None else out
            out[key] = new
    return live if out is None else out


def _merge_value(node: Node, live: Any, applied: Any) -> Any:
    if node.leaf:
        return live if same(node, live, applied) else applied
    if node.form == STRUCT or node.form == MAP:
        return merge(node, live, applied)
    return _merge_items(node, live, applied)


def _merge_items(node: Node, live: list[Any], applied: list[Any]) -> list[Any]:
    """Items by key, in the order of `applied`; items of `live` alone stay where they are among the others."""
    keys = [element_of(node, item) for item in applied]
    if keys == [element_of(node, item) for item in live] and len(set(keys)) == len(keys):
        out = live if node.set else [_merge_item(node, [old], [new], 0) for old, new in zip(live, applied, strict=True)]
        return live if all(map(operator.is_, out, live)) else out
    before, after = grouped(node, live), grouped(node, applied)
    merged: dict[tuple[str, int], Any] = {}
    for key, items in after.items():
        were = before.get(key, [])
        for at, item in enumerate(items):
            merged[key, at] = _merge_item(node, were, items, at) if len(were) == len(items) else item
    out = [merged.get(key, item) for key, item in _interleaved(node, live, applied, after)]
    return live if len(out) == len(live) and all(map(operator.is_, out, live)) else out


def _merge_item(node: Node, were: list[Any], items: list[Any], at: int) -> Any:
    assert node.element is not None
    if len(items) == 1 and not node.set:
        return _merge_value(node.element, were[0], items[0])
    return were[at] if same(node.element, were[at], items[at]) else items[at]


def _interleaved(
    node: Node, live: list[Any], applied: list[Any], after: dict[str, list[Any]]
) -> list[tuple[tuple[str, int], Any]]:
    """The items of the result in order, each with its key and its number among those of that key."""
    present, wanted = _numbered(node, live), _numbered(node, applied)
    wanted_keys, present_keys = dict(wanted), {key for key, _ in present}
    shared = [key for key, _ in wanted if key in present_keys]
    out: list[tuple[tuple[str, int], Any]] = []
    at = 0
    for key, item in wanted:
        while at < len(present) and present[at][0] != key:
            other = present[at][0]
            if other in wanted_keys:
                if shared and other == shared[0]:
                    # The place of a later one: `key` is new, and comes before it.
                    break
            elif other[0] not in after:
                out.append(present[at])
            at += 1
        if at < len(present) and present[at][0] == key:
            at += 1
        if shared and shared[0] == key:
            del shared[0]
        out.append((key, item))
    return out + [found for found in present[at:] if found[0][0] not in after]


def _numbered(node: Node, items: list[Any]) -> list[tuple[tuple[str, int], Any]]:
    seen: dict[str, int] = {}
    out = []
    for item in items:
        key = element_of(node, item)
        out.append(((key, seen.get(key, 0)), item))
        seen[key] = seen.get(key, 0) + 1
    return out


def prune(node: Node, value: JsonObject, dropped: FieldSet, kept: FieldSet) -> JsonObject:
    """`value` without the fields of `dropped` that are not in `kept`; STRUCT or MAP.

    A struct or a list in which `dropped` has a field goes as a whole, with its defaults, unless `kept` has one in it; a list's
    item and a map's value go when they are a member of `dropped` and not of `kept`.
    """
    out: dict[str, Any] | None = None
    for element, mine in dropped.items():
        key = element[2:]
        child = node.child(key) if element.startswith("f:") else None
        if child is None or value.get(key) is None:
            continue
        theirs = kept.get(element)
        whole = node.form == STRUCT or is_member(mine)
        new = _prune_value(child, value[key], mine, theirs, whole=whole)
        if new is not value[key]:
            out = dict(value) if out is None else out
            if new is _GONE:
                del out[key]
            else:
                out[key] = new
    return value if out is None else out


def _prune_value(node: Node, value: Any, mine: FieldSet, theirs: FieldSet | None, *, whole: bool) -> Any:
    if theirs is None and whole:
        return _GONE
    if node.leaf:
        return value
    kept = LEAF if theirs is None else theirs
    if node.form == STRUCT or node.form == MAP:
        rest: Any = prune(node, value, mine, kept)
    else:
        rest = _prune_items(node, value, mine, kept)
    return rest if rest or (theirs is not None and is_member(theirs)) else _GONE


def _prune_items(node: Node, items: list[Any], dropped: FieldSet, kept: FieldSet) -> list[Any]:
    out = []
    keys = {f"f:{name}": LEAF for name in node.map_keys}
    for item in items:
        element = element_of(node, item)
        mine, theirs = dropped.get(element), kept.get(element)
        if mine is not None:
            if is_member(mine) and (theirs is None or not is_member(theirs)):
                continue
            if node.element is not None and node.element.form == STRUCT and not node.element.atomic:
                # An item that stays for another manager keeps its key.
                item = prune(node.element, item, mine, {**(theirs or LEAF), **keys})
        out.append(item)
    return items if len(out) == len(items) and all(map(operator.is_, out, items)) else out
