"""Objects from protobuf to JSON data, of any kind that requests may have: the audit log shows what clients send. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError

from controlplane.requests import sizes, tables
from controlplane.requests.wirevalues import Unreadable
from controlplane.resources.registry import Registry
from controlplane.resources.resource import Resource
from pinnace import codec
from pinnace.errors import TooLarge
from pinnace.kinds import Kind
from pinnace.meta.v1 import rest_pb2

_OPTIONS = rest_pb2.DeleteOptions


def kind_of(registry: Registry, api_version: str, name: str) -> Kind | None:
    """A kind that requests may have, also one that is not stored."""
    every = (kind for resource in (*registry.served(), *registry.virtual) for kind in _forms(resource))
    return next((kind for kind in every if (kind.api_version, kind.kind) == (api_version, name)), None)


def value_of(registry: Registry, api_version: str, name: str, raw: bytes) -> dict[str, Any] | None:
    """An object, or the options of a deletion, with its kind; None for one that cannot be read."""
    try:
        if name == _OPTIONS.DESCRIPTOR.name:
            return {"kind": name, "apiVersion": api_version, **codec.encode(_OPTIONS.FromString(raw))}
        kind = kind_of(registry, api_version, name)
        if kind is None:
            return None
        sizes.check_encoded(kind, raw)
        return tables.whole(kind, kind.cls.FromString(_decoded(registry, kind, raw)))
    except (DecodeError, Unreadable, TooLarge):
        return None


def _decoded(registry: Registry, kind: Kind, raw: bytes) -> bytes:
    """In the kind's own messages. Raises DecodeError."""
    encoding = next((item.encoding for item in registry.served() if item.kind is kind), None)
    return raw if encoding is None else encoding.decode(raw)


def _forms(resource: Resource[Any]) -> Iterator[Kind]:
    yield resource.kind
    yield from (item.form.kind for item in resource.actions.values())
    yield from (item.form.kind for item in resource.subresources.values() if item.form is not None)
    yield from resource.answered.values()
