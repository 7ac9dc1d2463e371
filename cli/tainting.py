"""Taints from a command line, and the taints that a node has after them. Pure.

Source: kubectl's pkg/cmd/taint (utils.go, taint.go), with its words.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pinnace import formats
from pinnace.errors import BadRequest

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
# A taint as in a manifest: key, value, effect, timeAdded.
Taint = dict[str, str]


@dataclass(frozen=True, slots=True)
class Changes:
    """Taints to set, and (key, effect) of those to remove; an empty effect means all of the key."""

    put: tuple[Taint, ...]
    remove: tuple[tuple[str, str], ...]


def parse(specs: Iterable[str]) -> Changes:
    """`KEY=VALUE:EFFECT`, `KEY:EFFECT`, `KEY:EFFECT-`, `KEY-`. Raises BadRequest."""
    put: list[Taint] = []
    remove: list[tuple[str, str]] = []
    for spec in specs:
        taint = _taint(spec.removesuffix("-"))
        if spec.endswith("-"):
            remove.append((taint["key"], taint.get("effect", "")))
        elif "effect" not in taint:
            raise BadRequest(f"invalid taint spec: {spec}")
        elif any(_same(taint, other) for other in put):
            raise BadRequest(f"duplicated taints with the same key and effect: {spec}")
        else:
            put.append(taint)
    both = [f'{{"{key}":"{effect}"}}' for key, effect in remove if any(_matches(taint, key, effect) for taint in put)]
    if both:
        raise BadRequest(f"can not both modify and remove the following taint(s) in the same command: {', '.join(both)}")
    return Changes(tuple(put), tuple(remove))


def _taint(spec: str) -> Taint:
    """Of `KEY`, `KEY=VALUE:EFFECT` or `KEY:EFFECT`. Raises BadRequest."""
    named, colon, effect = spec.partition(":")
    key, _, value = named.partition("=")
    if colon and effect not in EFFECTS:
        raise BadRequest(f"invalid taint effect: {effect[:40]}, unsupported taint effect")
    if details := [*formats.label_value(value), *formats.qualified_name(key)]:
        raise BadRequest(f"invalid taint spec: {spec}, {'; '.join(details)}")
    return {"key": key, **({"value": value} if value else {}), **({"effect": effect} if effect else {})}


def _same(one: Taint, other: Taint) -> bool:
    return (one["key"], one.get("effect")) == (other["key"], other.get("effect"))


def _matches(taint: Taint, key: str, effect: str) -> bool:
    return taint["key"] == key and effect in ("", taint.get("effect"))


def present(taints: Iterable[Taint], changes: Changes) -> str:
    """Keys of taints that a node has and that would be changed, with commas; empty if there are none."""
    found = list(taints)
    return ",".join(taint["key"] for taint in changes.put if any(_same(taint, old) for old in found))


def changed(taints: Iterable[Taint], changes: Changes) -> list[Taint]:
    """The taints of the node after the changes, new ones first. Raises BadRequest for one to remove that there is not."""
    old = list(taints)
    missing = [
        f'taint "{key}{":" if effect else ""}{effect}" not found'
        for key, effect in changes.remove
        if not any(_matches(taint, key, effect) for taint in old)
    ]
    if missing:
        raise BadRequest("; ".join(missing))
    found = [*changes.put, *(taint for taint in old if not any(_same(taint, new) for new in changes.put))]
    return [taint for taint in found if not any(_matches(taint, *removed) for removed in changes.remove)]


def done(changes: Changes, *, overwrite: bool) -> str:
    """What a command did to a node."""
    if overwrite or (changes.put and changes.remove):
        return "modified"
    return "tainted" if changes.put else "untainted"
