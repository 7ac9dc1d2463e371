"""JSON patches: a list of operations, taken whole or not at all.

A patch of a few bytes can ask for much, so the operations, what they copy and what they shift in lists are limited.
Source: RFC 6902; RFC 6901 for its pointers.
"""

from __future__ import annotations

import json
from typing import Any

from pinnace.errors import BadRequest, Invalid

# As in Kubernetes.
MAX_OPERATIONS = 10_000
# Characters of JSON that the copies of one patch may add up to, else thirty of them would fill the memory.
MAX_COPIED = 3 << 20
# Items that insertions and removals may move along in lists: half a second.
MAX_SHIFTED = 500_000_000
# Parts of a pointer; an object is not nested deeper.
MAX_PARTS = 256

_OPERANDS = {
    "add": ("path", "value"), "replace": ("path", "value"), "test": ("path", "value"), "remove": ("path",),
    "copy": ("path", "from"), "move": ("path", "from"),
}  # fmt: skip


class _Failed(Exception):
    """Why an operation does not apply."""


def apply(value: Any, operations: Any) -> Any:
    """The patched value; `value` may be changed, also by a patch that fails. Raises BadRequest and Invalid."""
    if not isinstance(operations, list) or not all(isinstance(item, dict) for item in operations):
        raise BadRequest("a JSON patch must be a list of operations")
    if len(operations) > MAX_OPERATIONS:
        raise BadRequest(f"the patch has {len(operations)} operations, more than {MAX_OPERATIONS}")
    document = _Document(value)
    for index, operation in enumerate(operations):
        try:
            document.run(operation)
        except _Failed as error:
            raise Invalid(f"operation {index} of the patch ({_shown(operation)}): {error}") from None
    return document.value


def _shown(operation: dict[str, Any]) -> str:
    parts = (operation.get("op"), operation.get("path"))
    return " ".join(part[:80] for part in parts if isinstance(part, str))


class _Document:
    """A JSON value under a patch, and what the patch has used of its limits."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self._copied = 0
        self._shifted = 0

    def run(self, operation: dict[str, Any]) -> None:
        name = operation.get("op")
        operands = _OPERANDS.get(name) if isinstance(name, str) else None
        if operands is None:
            raise _Failed(f'"op" is not one of {", ".join(sorted(_OPERANDS))}')
        for operand in operands:
            if operand not in operation:
                raise _Failed(f'"{operand}" is missing')
        path = _pointer(operation["path"])
        source = _pointer(operation["from"]) if "from" in operands else []
        match name:
            case "add":
                self._add(path, operation["value"])
            case "replace":
                self._replace(path, operation["value"])
            case "remove":
                self._remove(path)
            case "test":
                if not _equal(_at(self.value, path), operation["value"]):
                    raise _Failed("the value is another one")
            case "copy":
                self._add(path, self._copy(_at(self.value, source)))
            case "move":
                self._move(source, path)

    def _add(self, path: list[str], item: Any) -> None:
        if not path:
            self.value = item
            return
        parent, last = _at(self.value, path[:-1]), path[-1]
        if isinstance(parent, dict):
            parent[last] = item
        elif isinstance(parent, list):
            at = len(parent) if last == "-" else _index(last, len(parent))
            self._shift(len(parent) - at)
            parent.insert(at, item)
        else:
            raise _Failed("the path leads into a scalar")

    def _replace(self, path: list[str], item: Any) -> None:
        _at(self.value, path)
        if not path:
            self.value = item
            return
        parent, last = _at(self.value, path[:-1]), path[-1]
        parent[_index(last, len(parent) - 1) if isinstance(parent, list) else last] = item

    def _remove(self, path: list[str]) -> Any:
        found = _at(self.value, path)
        if not path:
            raise _Failed("the whole object cannot be removed")
        parent, last = _at(self.value, path[:-1]), path[-1]
        if isinstance(parent, list):
            self._shift(len(parent) - int(last))
            del parent[int(last)]
        else:
            del parent[last]
        return found

    def _move(self, source: list[str], path: list[str]) -> None:
        if path[: len(source)] == source and len(path) > len(source):
            raise _Failed("a value cannot be moved into itself")
        if path == source:
            _at(self.value, source)
        else:
            self._add(path, self._remove(source))

    def _copy(self, item: Any) -> Any:
        text = json.dumps(item)
        self._copied += len(text)
        if self._copied > MAX_COPIED:
            raise BadRequest(f"the patch copies more than {MAX_COPIED >> 20} MiB")
        return json.loads(text)

    def _shift(self, items: int) -> None:
        self._shifted += items
        if self._shifted > MAX_SHIFTED:
            raise BadRequest("the patch moves too many items of lists")


def _pointer(text: Any) -> list[str]:
    if not isinstance(text, str) or (text and text[0] != "/"):
        raise _Failed("a path is empty or begins with /")
    parts = text.split("/")[1:]
    if len(parts) > MAX_PARTS:
        raise _Failed(f"the path has more than {MAX_PARTS} parts")
    if "~" in text and any("~" in part.replace("~0", "").replace("~1", "") for part in parts):
        raise _Failed("a path has ~ only in ~0 and ~1")
    return [part.replace("~1", "/").replace("~0", "~") for part in parts]


def _at(value: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(value, list):
            value = value[_index(part, len(value) - 1)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            raise _Failed("the path does not exist")
    return value


def _index(part: str, last: int) -> int:
    """Digits without a leading zero, and no further than `last`."""
    if not (part.isascii() and part.isdigit()) or (part[0] == "0" and part != "0"):
        raise _Failed(f'"{part[:40]}" is no index of a list')
    if len(part) > 9 or int(part) > last:
        raise _Failed(f"the list has no index {part[:40]}")
    return int(part)


def _equal(one: Any, other: Any) -> bool:
    """JSON's equality: 1 is 1.0, but not true."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
