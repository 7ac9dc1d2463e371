"""Sets of fields, in the form that managedFields stores them (FieldsV1).

A path is a tuple of elements: `f:name` for a field or map key, `k:{...}` for the item of a keyed list, `v:...` for a
member of a set, `.` for the existence of an item. Source: structured-merge-diff's serialisation of FieldsV1.
"""

from __future__ import annotations

import json
from typing import Any

from pinnace import manifest
from pinnace.codec import join, segment
from pinnace.schema import Field, Schema

Path = tuple[str, ...]
# Identity and server-owned fields are nobody's to own.
_UNOWNED_META = {
    "name", "namespace", "generateName", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink",
}  # fmt: skip


def leaves(spec: Schema, value: dict[str, Any]) -> dict[Path, Any]:
    """Every owned path of an object in JSON form, with its value."""
    out: dict[Path, Any] = {}
    meta = {key: item for key, item in value.get("metadata", {}).items() if key not in _UNOWNED_META}
    rest = {key: item for key, item in value.items() if key not in ("apiVersion", "kind", "metadata", "status")}
    if meta:
        rest["metadata"] = meta
    _message(spec, rest, (), out)
    return out


def _message(spec: Schema, value: dict[str, Any], path: Path, out: dict[Path, Any]) -> None:
    for key, item in value.items():
        found = spec.find(key)
        if found is not None and item is not None:
            _field(found[1], item, (*path, f"f:{key}"), out)


def _field(item: Field, value: Any, path: Path, out: dict[Path, Any]) -> None:
    rules = item.rules
    if item.map and value:
        for key, element in value.items():
            out[(*path, f"f:{key}")] = element
    elif item.repeated and rules.listMapKeys and item.message is not None:
        for element in value:
            here = (*path, item_key(item, element))
            out[(*here, ".")] = True
            _message(item.message, element, here, out)
    elif item.repeated and rules.set:
        for element in value:
            out[(*path, "v:" + _dump(element))] = element
    elif item.message is not None and not item.repeated and not item.map and not rules.atomic and value:
        _message(item.message, value, path, out)
    else:
        out[path] = value


def item_key(item: Field, element: dict[str, Any]) -> str:
    """`k:{"name":"web"}`; a key that is absent takes its default."""
    assert item.message is not None
    key = {}
    for name in item.rules.listMapKeys:
        found = item.message.find(name)
        default = manifest.resolve(found[1].rules.default) if found and found[1].rules.default else ""
        given = element.get(name)
        key[name] = default if given is None else given
    return "k:" + _dump(key)


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def to_fields_v1(paths: set[Path]) -> bytes:
    tree: dict[str, Any] = {}
    for path in sorted(paths):
        node = tree
        for element in path:
            node = node.setdefault(element, {})
    return json.dumps(tree, separators=(",", ":")).encode()


def from_fields_v1(raw: bytes) -> set[Path]:
    out: set[Path] = set()
    stack: list[tuple[Path, dict[str, Any]]] = [((), json.loads(raw or b"{}"))]
    while stack:
        path, node = stack.pop()
        for element, below in node.items():
            if below:
                stack.append(((*path, element), below))
            else:
                out.add((*path, element))
    return out


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
    return text


def merge(spec: Schema, live: dict[str, Any], applied: dict[str, Any]) -> dict[str, Any]:
    """`live` with everything of `applied` put into it."""
    out = dict(live)
    for key, value in applied.items():
        found = spec.find(key)
        if value is None:
            continue
        if found is None or key not in live:
            out[key] = value
        else:
            out[key] = _merge_field(found[1], live[key], value)
    return out


def _merge_field(item: Field, live: Any, applied: Any) -> Any:
    rules = item.rules
    if item.map:
        return {**live, **applied}
    if item.repeated and rules.listMapKeys and item.message is not None:
        merged = {item_key(item, element): element for element in live}
        for element in applied:
            key = item_key(item, element)
            merged[key] = merge(item.message, merged[key], element) if key in merged else element
        return list(merged.values())
    if item.repeated and rules.set:
        return live + [element for element in applied if element not in live]
    if item.message is not None and not item.repeated and not rules.atomic:
        return merge(item.message, live, applied)
    return applied


def remove(spec: Schema, value: dict[str, Any], paths: set[Path]) -> None:
    """Take `paths` out of an object in JSON form, and what becomes empty through that."""
    for path in sorted(paths, key=len, reverse=True):
        _remove_message(spec, value, path)


def _remove_message(spec: Schema, value: dict[str, Any], path: Path) -> None:
    key = path[0][2:]
    found = spec.find(key)
    if found is None or key not in value:
        return
    item, rest = found[1], path[1:]
    if not rest:
        del value[key]
        return
    inner = value[key]
    if item.repeated:
        _remove_item(item, inner, rest)
    elif item.map:
        inner.pop(rest[0][2:], None)
    elif item.message is not None:
        _remove_message(item.message, inner, rest)
    if not inner:
        del value[key]


def _remove_item(item: Field, elements: list[Any], path: Path) -> None:
    if path[0].startswith("v:"):
        elements[:] = [element for element in elements if "v:" + _dump(element) != path[0]]
        return
    assert item.message is not None
    for index, element in enumerate(elements):
        if item_key(item, element) == path[0]:
            if path[1:] == (".",):
                del elements[index]
            else:
                _remove_message(item.message, element, path[1:])
            return
