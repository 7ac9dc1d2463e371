"""Bodies of requests to messages of a resource, strictly: whatever a client sends, it is a well-formed object or one error."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from controlplane.requests import managers, sizes
from controlplane.requests.wirevalues import Unreadable
from controlplane.resources.resource import Resource
from pinnace import codec, wellformed
from pinnace.admission import explain
from pinnace.errors import BadRequest


def from_json(resource: Resource, body: bytes, namespace: str, *, status: bool = False) -> Any:
    """An object from JSON, with or without its status. Raises Invalid, BadRequest."""
    return _decode(resource, manifest(resource, body, namespace, status=status))


def from_value(resource: Resource, value: dict[str, Any], namespace: str, *, status: bool = False) -> Any:
    """An object from JSON data, with or without its status. Raises Invalid."""
    return _decode(resource, cleaned(resource, value, namespace, status=status))


def _decode(resource: Resource, value: dict[str, Any]) -> Any:
    kind = resource.kind
    try:
        return codec.decode(kind.cls, value)
    except codec.FieldError as error:
        raise explain(kind, error, own=resource.rules) from None


def from_protobuf(resource: Resource, body: bytes, namespace: str) -> Any:
    """An object from protobuf; fields that the schema does not have are dropped. Raises Invalid, BadRequest."""
    kind = resource.kind
    try:
        sizes.check_encoded(kind, body)
        message: Any = kind.cls.FromString(body)
    except (DecodeError, Unreadable):
        raise BadRequest(f"the body is not a {kind.kind} in protobuf") from None
    managers.check_count(kind, message.metadata.managedFields)
    entries = list(message.metadata.managedFields)
    message.metadata.ClearField("managedFields")
    # Before anything that takes time for each value.
    sizes.check_message(kind, message, size=len(body))
    # What of theirs is not even JSON is no reason to refuse the object.
    if all(wellformed.is_object(entry.fieldsV1.Raw) for entry in entries):
        message.metadata.managedFields.extend(entries)
    message.DiscardUnknownFields()
    wellformed.check(kind, message)
    if kind.namespaced and not message.metadata.namespace:
        message.metadata.namespace = namespace or "default"
    return message


def manifest(resource: Resource, body: bytes, namespace: str, *, status: bool = False) -> dict[str, Any]:
    """The JSON of an object, its namespace filled in; its status only when asked for. Raises BadRequest, Invalid."""
    try:
        value = codec.load_json(body)
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise codec.FieldError(f"expected an object, got {codec.describe(value)}").invalid(resource.kind.group_kind)
    return cleaned(resource, value, namespace, status=status)


def cleaned(resource: Resource, value: dict[str, Any], namespace: str, *, status: bool = False) -> dict[str, Any]:
    """An object's JSON data without its kind, its namespace filled in; its status only when asked for.

    Raises TooLarge."""
    kind = resource.kind
    sizes.check_json(kind, value)
    meta = value.get("metadata")
    dropped = ("apiVersion", "kind") if status or not resource.has_status else ("apiVersion", "kind", "status")
    value = {key: entry for key, entry in value.items() if key not in dropped}
    if isinstance(meta, dict) and kind.namespaced and not meta.get("namespace"):
        value["metadata"] = {**meta, "namespace": namespace or "default"}
    elif isinstance(meta, dict) and not kind.namespaced:
        value["metadata"] = {key: entry for key, entry in meta.items() if key != "namespace"}
    return value
