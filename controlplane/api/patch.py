"""The three patch types on objects in JSON form: RFC 7386 merge, RFC 6902, and Kubernetes' strategic merge."""

from __future__ import annotations

import json
from typing import Any

from controlplane.api.fieldsets import item_key
from pinnace import codec, schema
from pinnace.api.v1 import objects_pb2
from pinnace.errors import BadRequest, Invalid
from pinnace.kinds import Kind
from pinnace.schema import Field, Schema

_TYPES = objects_pb2.PatchRequest
# Characters of JSON that the copies of one patch may add up to, else thirty of them would fill the memory.
MAX_COPIED = 3 << 20


def patched(kind: Kind, old: Any, type_: int, patch: bytes) -> Any:
    """A new message: `old` with the patch. Raises BadRequest and Invalid."""
    try:
        return _patched(kind, old, type_, patch)
    except RecursionError:
        raise BadRequest("the patch is nested too deep") from None


def _patched(kind: Kind, old: Any, type_: int, patch: bytes) -> Any:
    try:
        change = json.loads(patch)
    except ValueError as error:
        raise BadRequest(f"the patch is not JSON: {str(error)[:200]}") from None
    current = codec.encode(old)
    if type_ == _TYPES.JSON:
        result = _json_patch(current, change)
    elif type_ in (_TYPES.MERGE, _TYPES.STRATEGIC):
        if not isinstance(change, dict):
            raise BadRequest("a merge patch must be an object")
        change = {key: value for key, value in change.items() if key not in ("apiVersion", "kind")}
        result = merge(current, change) if type_ == _TYPES.MERGE else strategic(schema.of(kind.cls), current, change)
    else:
        raise BadRequest("the patch type is not one of JSON, MERGE, STRATEGIC")
    try:
        message: Any = codec.decode(kind.cls, result)
    except codec.FieldError as error:
        raise error.invalid(kind.kind, old.metadata.name) from None
    if (message.metadata.name, message.metadata.namespace) != (old.metadata.name, old.metadata.namespace):
        raise Invalid("a patch may not change the name or the namespace")
    return message


def merge(value: Any, change: Any) -> Any:
    """RFC 7386."""
    if not isinstance(change, dict):
        return change
    out = dict(value) if isinstance(value, dict) else {}
    for key, item in change.items():
        if item is None:
            out.pop(key, None)
        else:
            out[key] = merge(out.get(key), item)
    return out


def strategic(spec: Schema, value: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Merge by schema: lists with keys item by item; `$patch: replace` and `$patch: delete` are understood."""
    if change.get("$patch") == "replace":
        return {key: item for key, item in change.items() if key != "$patch"}
    out = dict(value)
    for key, item in change.items():
        found = spec.find(key)
        if item is None:
            out.pop(key, None)
        elif found is None:
            out[key] = item
        else:
            # Also where there is nothing yet, so that directives and nulls below are understood.
            out[key] = _strategic_field(found[1], out.get(key, [] if found[1].repeated else {}), item)
    return out


def _strategic_field(item: Field, value: Any, change: Any) -> Any:
    if item.repeated and item.rules.listMapKeys and item.message is not None and isinstance(change, list):
        merged = {item_key(item, element): element for element in value}
        for element in change:
            if not isinstance(element, dict):
                raise BadRequest(f"{item.name}: expected objects")
            key = item_key(item, element)
            if element.get("$patch") == "delete":
                merged.pop(key, None)
            else:
                merged[key] = strategic(item.message, merged.get(key, {}), element)
        return list(merged.values())
    if item.repeated and item.rules.set and isinstance(change, list):
        return value + [element for element in change if element not in value]
    if item.map:
        return merge(value, change)
    if item.message is not None and not item.repeated and isinstance(change, dict):
        return strategic(item.message, value, change)
    return change


def _json_patch(value: Any, operations: Any) -> Any:
    if not isinstance(operations, list) or not all(isinstance(item, dict) for item in operations):
        raise BadRequest("a JSON patch must be a list of operations")
    copied = 0
    for index, operation in enumerate(operations):
        try:
            if operation["op"] == "copy":
                copied += len(json.dumps(_at(value, _pointer(operation["from"]))))
                if copied > MAX_COPIED:
                    raise BadRequest(f"the patch copies more than {MAX_COPIED >> 20} MiB")
            value = _operate(value, operation)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError):
            raise Invalid(f"operation {index} of the patch ({operation.get('op')}) does not apply") from None
    return value


def _operate(value: Any, operation: dict[str, Any]) -> Any:
    path = _pointer(operation["path"])
    match operation["op"]:
        case "test":
            if _at(value, path) != operation["value"]:
                raise ValueError("test failed")
            return value
        case "add":
            return _put(value, path, operation["value"], insert=True)
        case "replace":
            _at(value, path)
            return _put(value, path, operation["value"], insert=False)
        case "remove":
            return _drop(value, path)
        case "copy" | "move":
            source = _pointer(operation["from"])
            found = json.loads(json.dumps(_at(value, source)))
            if operation["op"] == "move":
                value = _drop(value, source)
            return _put(value, path, found, insert=True)
    raise ValueError("unknown operation")


def _pointer(text: str) -> list[str]:
    """RFC 6901."""
    if text and not text.startswith("/"):
        raise ValueError("not a pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _step(value: Any, part: str) -> Any:
    return value[_index(part, len(value) - 1)] if isinstance(value, list) else value[part]


def _index(part: str, last: int) -> int:
    """RFC 6901: digits without a leading zero, and no further than `last`."""
    if not (part.isascii() and part.isdigit()) or (part[0] == "0" and part != "0") or int(part) > last:
        raise IndexError(part)
    return int(part)


def _at(value: Any, path: list[str]) -> Any:
    for part in path:
        value = _step(value, part)
    return value


def _put(value: Any, path: list[str], item: Any, *, insert: bool) -> Any:
    if not path:
        return item
    parent = _at(value, path[:-1])
    if not isinstance(parent, list):
        parent[path[-1]] = item
    elif path[-1] == "-":
        parent.append(item)
    elif insert:
        parent.insert(_index(path[-1], len(parent)), item)
    else:
        parent[_index(path[-1], len(parent) - 1)] = item
    return value


def _drop(value: Any, path: list[str]) -> Any:
    parent = _at(value, path[:-1])
    del parent[_index(path[-1], len(parent) - 1) if isinstance(parent, list) else path[-1]]
    return value
