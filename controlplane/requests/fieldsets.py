"""Sets of fields as tries, in the very form that managedFields stores them (FieldsV1), and their algebra.

A set is a dict from path element to the set below it: `f:name` for a field or a map's key, `k:{...}` for the item of a keyed
list, `v:...` for a member of a set. An element is a member of the set when the dict below it is empty, or has the element `.`
alongside others. So a parent and its children cannot contradict each other, and no order of paths matters.

Sets are values: every function returns a new one, or one of its arguments where nothing changes. Never change one in place.
Source: structured-merge-diff's fieldpath package (set.go, serialize.go).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from pinnace.codec import join, segment
from pinnace.jsontext import depth_exceeds, load_json

FieldSet = dict[str, Any]
Path = tuple[str, ...]
# A member without anything below it. Also the empty set, where a set is not below an element.
LEAF: FieldSet = {}
SELF = "."
# Sets parsed from managedFields that are kept: objects made alike have the same sets, byte for byte.
MAX_PARSED = 512


def is_member(node: FieldSet) -> bool:
    """Whether the element that `node` is below of belongs to the set itself."""
    return not node or SELF in node


def with_self(node: FieldSet) -> FieldSet:
    """`node` as that of a member."""
    return node if not node or SELF in node else {SELF: LEAF, **node}


def without_items(fields: FieldSet) -> FieldSet:
    """`fields` without the items of keyed lists and their keys: only what is below them."""
    out: FieldSet = {}
    for element, below in fields.items():
        if below:
            inner = without_items(below)
            if element.startswith("k:"):
                inner = {key: item for key, item in inner.items() if key != SELF and key[2:] not in json.loads(element[2:])}
            if inner:
                out[element] = inner
        elif not element.startswith("k:"):
            out[element] = below
    return out


def union(one: FieldSet, other: FieldSet) -> FieldSet:
    """What is in either of two sets."""
    if one is other or not other:
        return one
    if not one:
        return other
    out = dict(one)
    for element, below in other.items():
        out[element] = _joined(out[element], below) if element in out else below
    return out


def _joined(one: FieldSet, other: FieldSet) -> FieldSet:
    """The union below one element, which stays a member if it is one in either set."""
    if one is other:
        return one
    if not one or not other:
        return with_self(one or other)
    return union(one, other)


def difference(one: FieldSet, other: FieldSet, *, deep: bool = True) -> FieldSet:
    """`one` without the members of `other`; if `deep`, also without all that is below a member that has nothing below it."""
    out = one
    for element, below in other.items():
        mine = out.get(element)
        if mine is None:
            continue
        rest = _rest(mine, below, deep=deep)
        if rest is mine:
            continue
        if out is one:
            out = dict(one)
        if rest is None:
            del out[element]
        else:
            out[element] = rest
    # An element that has only itself is written as one that has nothing.
    return LEAF if len(out) == 1 and SELF in out else out


def _rest(mine: FieldSet, other: FieldSet, *, deep: bool) -> FieldSet | None:
    """What stays below an element, or None."""
    if not mine:
        return None if is_member(other) else mine
    if not other:
        if deep:
            return None
        return {element: below for element, below in mine.items() if element != SELF} if SELF in mine else mine
    rest = difference(mine, other, deep=deep)
    return rest if rest or not _lost_self(mine, other) else None


def _lost_self(mine: FieldSet, other: FieldSet) -> bool:
    """Whether an empty rest means that nothing is left, and not that the element is a member on its own."""
    return SELF not in mine or SELF in other


def intersection(one: FieldSet, other: FieldSet) -> list[Path]:
    """The members of `one` that are members of `other` or below one that has nothing below it, in order."""
    out: list[Path] = []
    _meet(one, other, (), out)
    return sorted(out)


def _meet(one: FieldSet, other: FieldSet, path: Path, out: list[Path]) -> None:
    for element, below in one.items():
        theirs = other.get(element)
        if theirs is None:
            continue
        here = path if element == SELF else (*path, element)
        if not below and is_member(theirs):
            out.append(here)
        elif not theirs:
            out += [(*here, *rest) for rest in members(below)]
        elif below:
            _meet(below, theirs, here, out)


def members(node: FieldSet) -> Iterator[Path]:
    """The path of every member."""
    for element, below in node.items():
        if element == SELF:
            yield ()
        elif not below:
            yield (element,)
        else:
            yield from ((element, *rest) for rest in members(below))


def to_fields_v1(node: FieldSet) -> bytes:
    return json.dumps(node, separators=(",", ":"), sort_keys=True).encode()


@lru_cache(maxsize=MAX_PARSED)
def from_fields_v1(raw: bytes) -> FieldSet:
    """Raises ValueError."""
    return _tidy(json.loads(raw or b"{}"))


def _tidy(node: Any) -> FieldSet:
    if not isinstance(node, dict):
        raise ValueError("a field set is an object of objects")
    out = {element: _tidy(below) for element, below in node.items()}
    return LEAF if not out or (len(out) == 1 and SELF in out) else out


def from_client(raw: bytes) -> FieldSet:
    """A set that the server has not written, with nothing in it that this module could not take. Raises ValueError."""
    value = load_json(raw or b"{}")
    if depth_exceeds(value):
        raise ValueError("a field set is nested too deep")
    found = _tidy(value)
    _check(found)
    return found


def _check(node: FieldSet) -> None:
    """Raises ValueError for a path element that fieldpath (serialize-pe.go) does not have."""
    for element, below in node.items():
        kind, _, body = element.partition(":")
        if element == SELF:
            good = not below
        elif kind == "f":
            good = True
        else:
            value = load_json(body.encode(errors="replace"))
            good = kind == "v" or (kind == "k" and isinstance(value, dict)) or (kind == "i" and type(value) is int)
        if not good:
            raise ValueError("an element of a field set is f:, k:, v:, i: or a dot")
        _check(below)


def readable(path: Path) -> str:
    """`spec.containers[name="web"].image`, as conflicts are shown."""
    text = ""
    for element in path:
        kind, _, body = element.partition(":")
        if kind == "f":
            text = join(text, segment(body))
        elif kind == "k":
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in json.loads(body).items()) + "]"
        elif kind == "v":
            text += f"[={body}]"
        elif kind == "i":
            text += f"[{body}]"
    return text
