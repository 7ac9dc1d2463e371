"""Objects in writes that are about another object: a part of it such as its scale, or an action on it such as its eviction."""

from __future__ import annotations

from typing import Any

from controlplane.requests import decoding
from controlplane.resources import Resource
from pinnace.api.v1 import objects_pb2
from pinnace.errors import BadRequest


def of_part(form: Resource, item: objects_pb2.Object, ref: objects_pb2.Reference) -> Any:
    """A part of the object that `ref` names, or an action on it, in its own form. Raises Invalid, BadRequest."""
    if item.WhichOneof("body") == "json":
        message = decoding.from_json(form, item.json, ref.namespace, status=True)
    else:
        message = decoding.from_protobuf(form, item.protobuf, ref.namespace)
    meta = message.metadata
    if meta.name not in ("", ref.name):
        raise BadRequest(f"the name of the object ({meta.name[:253]}) is not that of the request ({ref.name[:253]})")
    meta.name, meta.namespace = ref.name, ref.namespace
    return message
