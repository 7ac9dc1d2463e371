"""Bodies of requests to JSON values: from JSON, YAML or Kubernetes' protobuf envelope, checked against the URL.

Source: "Alternate representations of resources" and "Field validation" of the Kubernetes API concepts;
runtime.Unknown of k8s.io/apimachinery.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError, Message

from controlplane.http.messages import Request
from controlplane.requests import decoding, sizes, unknownfields
from controlplane.requests.wirevalues import Unreadable
from controlplane.resources.resource import Resource
from controlplane.rest import negotiation
from controlplane.rest.paths import Target
from pinnace import codec, manifest, schematree
from pinnace.errors import BadRequest, Invalid
from pinnace.meta.v1 import rest_pb2

MAGIC = b"k8s\0"
# Fields that one strict error lists.
MAX_LISTED = 20
# Bytes of YAML that are read at once. A value takes 25 microseconds, so more is read in a thread, one body after the other.
SMALL = 4 << 10
_READER = ThreadPoolExecutor(1, "yaml")
_READABLE = (negotiation.JSON, negotiation.YAML, negotiation.PROTOBUF)


class FieldValidation(enum.Enum):
    """What becomes of unknown and duplicate fields."""

    IGNORE = "Ignore"
    WARN = "Warn"
    STRICT = "Strict"

    @classmethod
    def of(cls, request: Request) -> FieldValidation:
        """Raises BadRequest."""
        text = request.param("fieldValidation") or cls.WARN.value
        try:
            return cls(text)
        except ValueError:
            known = ", ".join(item.value for item in cls)
            raise BadRequest(f'fieldValidation: Unsupported value: "{text[:40]}": supported values: {known}') from None


@dataclass(frozen=True, slots=True)
class Body:
    """`value` is JSON; `unknown` the complaints about fields that were left out, and `paths` those of unknown ones."""

    value: dict[str, Any]
    unknown: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


async def read(resource: Resource, target: Target, request: Request) -> Body:
    """The object in a body, as the resource's kind. Raises BadRequest, Invalid, UnsupportedMediaType."""
    media = negotiation.content_type(request.header("content-type"), known=_READABLE)
    if media == negotiation.PROTOBUF:
        found = _protobuf(resource, request.body, target.namespace)
        _check_place(resource, target, found)
        return Body(found)
    value, duplicates = _text(request.body) if media == negotiation.JSON else (await _yaml(request.body, resource), [])
    if not isinstance(value, dict):
        raise BadRequest(f"the body must be an object, not {codec.describe(value)}")
    return fitting(resource, target, value, duplicates)


async def applied(resource: Resource, target: Target, request: Request) -> Body:
    """The manifest of a server-side apply, in YAML or JSON. Raises BadRequest."""
    value = await _yaml(request.body, resource)
    if not isinstance(value, dict):
        raise BadRequest(f"the body must be an object, not {codec.describe(value)}")
    missing = [name for name in ("apiVersion", "kind") if not value.get(name)]
    if missing:
        raise BadRequest(f"{missing[0]} is missing, which an apply must state")
    meta = value.get("metadata")
    if isinstance(meta, dict) and meta.get("managedFields") is not None:
        raise BadRequest("metadata.managedFields must be nil")
    return fitting(resource, target, value, [])


def fitting(resource: Resource, target: Target, value: dict[str, Any], duplicates: list[str]) -> Body:
    """A value with the kind of the URL and without unknown fields. Raises BadRequest."""
    _check_kind(resource, value)
    value = {key: item for key, item in value.items() if key not in ("apiVersion", "kind")}
    cleaned, unknown = unknownfields.drop(schematree.of_kind(resource.kind), value)
    complaints = [*(f'unknown field "{path}"' for path in unknown), *(f'duplicate field "{key}"' for key in duplicates)]
    _check_place(resource, target, cleaned)
    return Body(cleaned, tuple(complaints), tuple(unknown))


def refuse_unknown(resource: Resource, body: Body, validation: FieldValidation) -> tuple[str, ...]:
    """What to warn of. Raises BadRequest where validation is strict."""
    if validation is FieldValidation.STRICT and body.unknown:
        kind = resource.kind
        listed = ", ".join(body.unknown[:MAX_LISTED])
        raise BadRequest(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: strict decoding error: {listed}'
        )
    return body.unknown if validation is FieldValidation.WARN else ()


def _check_kind(resource: Resource, value: dict[str, Any]) -> None:
    """What a body leaves out is the URL's. Raises BadRequest."""
    kind = resource.kind
    version, name = value.get("apiVersion"), value.get("kind")
    if version not in (None, "", kind.api_version):
        raise BadRequest(
            f"the API version in the data ({str(version)[:80]}) does not match the expected API version ({kind.api_version})"
        )
    if name not in (None, "", kind.kind):
        raise BadRequest(f"the kind in the data ({str(name)[:80]}) does not match the expected kind ({kind.kind})")


def _check_place(resource: Resource, target: Target, value: dict[str, Any]) -> None:
    """Name and namespace are those of the URL. Raises BadRequest."""
    meta = value.setdefault("metadata", {})
    if not isinstance(meta, dict):
        return
    if not resource.kind.namespaced:
        meta.pop("namespace", None)
    elif (meta.setdefault("namespace", target.namespace) or target.namespace) != target.namespace:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    if target.name and (meta.setdefault("name", target.name) or target.name) != target.name:
        raise BadRequest(
            f"the name of the object ({str(meta['name'])[:80]}) does not match the name on the URL ({target.name[:80]})"
        )


class _Twice(dict[str, Any]):
    """An object in which keys were repeated."""

    twice: tuple[str, ...] = ()


def _text(body: bytes) -> tuple[Any, list[str]]:
    """JSON and the paths of repeated keys, of which the last value counts. Raises BadRequest."""
    repeated = False

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        repeated, seen = True, set[str]()
        marked = _Twice(found)
        marked.twice = tuple(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        return marked

    try:
        value = codec.load_json(body, collect)
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {str(error)[:200]}") from None
    return value, list(_repeated(value, "")) if repeated else []


def _repeated(value: Any, path: str) -> list[str]:
    found, level = list[str](), [(path, value)]
    while level and len(found) < unknownfields.MAX_LISTED:
        here, item = level.pop(0)
        if isinstance(item, _Twice):
            found += [f"{here}.{key}".lstrip(".") for key in dict.fromkeys(item.twice)]
        if isinstance(item, dict):
            level += [(f"{here}.{key}".lstrip("."), below) for key, below in item.items() if isinstance(below, dict | list)]
        elif isinstance(item, list):
            level += [(f"{here}[{at}]", below) for at, below in enumerate(item) if isinstance(below, dict | list)]
    return found


async def _yaml(body: bytes, resource: Resource) -> Any:
    """One document. Raises BadRequest."""
    # An object may bring its managedFields, which do not count.
    read = functools.partial(manifest.load, body, "body", values=2 * resource.kind.most_values)
    try:
        if len(body) <= SMALL:
            documents = read()
        else:
            documents = await asyncio.get_running_loop().run_in_executor(_READER, read)
    except Invalid as error:
        raise BadRequest(f"the body is not YAML: {error.message[:400]}") from None
    if len(documents) != 1:
        raise BadRequest(f"the body must be one YAML document, not {len(documents)}")
    return documents[0].value


def envelope(body: bytes) -> rest_pb2.Unknown:
    """Raises BadRequest."""
    if not body.startswith(MAGIC):
        raise BadRequest("the body is not Kubernetes' protobuf: it must begin with k8s and a zero byte")
    try:
        return rest_pb2.Unknown.FromString(body[len(MAGIC) :])
    except DecodeError:
        raise BadRequest("the envelope of the protobuf body cannot be read") from None


def _protobuf(resource: Resource, body: bytes, namespace: str) -> dict[str, Any]:
    found = envelope(body)
    _check_kind(resource, {"apiVersion": found.typeMeta.apiVersion, "kind": found.typeMeta.kind})
    message = decoding.from_protobuf(resource, _decoded(resource, found.raw), namespace)
    drop_zero_times(message)
    return codec.encode(message)


def _decoded(resource: Resource, raw: bytes) -> bytes:
    """An object in the kind's own messages. Raises BadRequest, TooLarge."""
    if resource.encoding is None:
        return raw
    try:
        sizes.check_encoded(resource.kind, raw)
        return resource.encoding.decode(raw)
    except (DecodeError, Unreadable):
        raise BadRequest(f"the body is not a {resource.kind.kind} in protobuf") from None


def drop_zero_times(message: Message) -> None:
    """Go writes a time that is not set as an empty message; other values that are not set leave no trace in ours."""
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        if field.is_repeated:
            for item in value:
                drop_zero_times(item)
        elif field.message_type.name in ("Time", "MicroTime"):
            if not value.seconds and not value.nanos:
                message.ClearField(field.name)
        else:
            drop_zero_times(value)


def dumps(value: Any) -> bytes:
    """JSON. Numbers beyond 64 bits, which a custom object may have, are written by the standard library."""
    import orjson

    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
