"""The patch types on objects in JSON form: which one applies, and what it makes of an object."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from controlplane.requests import jsonpatch, sizes
from controlplane.requests.strategicmerge import strategic
from pinnace import codec, schematree
from pinnace.errors import BadRequest, Invalid, UnsupportedMediaType
from pinnace.kinds import Kind


class PatchType(enum.Enum):
    """By media type, without `application/`."""

    JSON = "json-patch+json"
    MERGE = "merge-patch+json"
    STRATEGIC = "strategic-merge-patch+json"


# Bytes of a patch, as in Kubernetes.
MAX_PATCH = 3 << 20


def patched(
    kind: Kind, old: Any, type_: PatchType, patch: bytes, fit: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> Any:
    """A new message: `old` with the patch. `fit` is given the JSON of the result, and what it returns is decoded.

    Raises BadRequest, Invalid, TooLarge, and UnsupportedMediaType for a strategic merge patch of a custom kind."""
    try:
        return _decoded(kind, old, _patched(kind, old, type_, _read(patch)), fit)
    except RecursionError:
        raise BadRequest("the patch is nested too deep") from None


def _read(patch: bytes) -> Any:
    if len(patch) > MAX_PATCH:
        raise BadRequest(f"the patch is larger than {MAX_PATCH >> 20} MiB")
    try:
        return codec.load_json(patch)
    except ValueError as error:
        raise BadRequest(f"the patch is not JSON: {str(error)[:200]}") from None


def _patched(kind: Kind, old: Any, type_: PatchType, change: Any) -> Any:
    """The JSON of the result."""
    current = codec.encode(old)
    sizes.check_json(kind, change)
    if type_ is PatchType.JSON:
        return _of_kind(kind, jsonpatch.apply({"apiVersion": kind.api_version, "kind": kind.kind, **current}, change))
    if not isinstance(change, dict):
        raise BadRequest("a merge patch must be an object")
    if type_ is PatchType.STRATEGIC and kind.schema is not None:
        raise UnsupportedMediaType(
            f"strategic merge patch is not supported for {kind.kind}: use a merge or a JSON patch (--type merge)"
        )
    named = {"apiVersion": kind.api_version, "kind": kind.kind}
    if type_ is PatchType.STRATEGIC:
        # As in Kubernetes, whose types have no other kind.
        return strategic(schematree.of_kind(kind), current, {key: value for key, value in change.items() if key not in named})
    return _of_kind(kind, merge({**named, **current}, change))


def _of_kind(kind: Kind, result: Any) -> Any:
    """The result without its kind, which no patch changes. Raises BadRequest."""
    if not isinstance(result, dict):
        return result
    for field, expected in (("apiVersion", kind.api_version), ("kind", kind.kind)):
        if result.pop(field, None) != expected:
            raise BadRequest(f"{field} of the patched object must be {expected}")
    return result


def _decoded(kind: Kind, old: Any, result: Any, fit: Callable[[dict[str, Any]], dict[str, Any]] | None) -> Any:
    if fit is not None and isinstance(result, dict):
        result = fit({key: value for key, value in result.items() if key not in ("apiVersion", "kind")})
    sizes.check_json(kind, result)
    try:
        message: Any = codec.decode(kind.cls, result)
    except codec.FieldError as error:
        raise error.invalid(kind.group_kind, old.metadata.name) from None
    if (message.metadata.name, message.metadata.namespace) != (old.metadata.name, old.metadata.namespace):
        raise Invalid("a patch may not change the name or the namespace")
    return message


def merge(value: Any, change: Any) -> Any:
    """A merge patch. Pure. Source: RFC 7386."""
    if not isinstance(change, dict):
        return change
    out = dict(value) if isinstance(value, dict) else {}
    for key, item in change.items():
        if item is None:
            out.pop(key, None)
        else:
            out[key] = merge(out.get(key), item)
    return out
