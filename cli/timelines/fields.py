"""Paths of changed fields, such as `status.conditions[Ready].reason`: their parts, and which belong together. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

# The innermost item of a list in a path: the list, the item's name, and the rest. Names may hold dots and brackets no.
_ITEM = re.compile(r"^(.*?(?:conditions|ontainerStatuses))\[([^\]]*)\](?:\.(.*))?$")


def parent(path: str) -> str:
    """The path without its last part: `a.b` of `a.b.c`, of `a.b[c]` and of `a.b[x.y/z]`."""
    if path.endswith("]"):
        return path[: path.rindex("[")] if "[" in path else ""
    head, _, _ = path.rpartition(".")
    return head if head.count("[") == head.count("]") else path


def leaf(path: str) -> str:
    """The last part: `c`, or `[x.y/z]`."""
    return path[len(parent(path)) :].lstrip(".")


def item(path: str) -> tuple[str, str] | None:
    """The list and the name of a condition or a container that a path leads to or into."""
    found = _ITEM.match(path)
    return None if found is None else (found[1], found[2])


def below(path: str) -> str:
    """The part of a path below its condition or container."""
    found = _ITEM.match(path)
    return path if found is None else found[3] or ""


def grouped(changes: Sequence[Any]) -> list[tuple[str, list[Any]]]:
    """Changes of one condition or container together, under the path of it; every other one under the path above it."""
    out: list[tuple[str, list[Any]]] = []
    for change in changes:
        place = item(change.path)
        above = parent(change.path) if place is None else f"{place[0]}[{place[1]}]"
        if place is not None and out and out[-1][0] == above:
            out[-1][1].append(change)
        else:
            out.append((above, [change]))
    return out
