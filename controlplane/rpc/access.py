"""The Access service: reviews and tokens, as the caller or as a user that the caller may impersonate."""

from __future__ import annotations

from typing import Any

from controlplane.access import attributes
from controlplane.access.attributes import Attributes
from controlplane.access.authorizer import Authorizer
from controlplane.access.identity import Identity
from controlplane.access.impersonation import Impersonation, impersonate
from controlplane.access.reviews import Reviews
from controlplane.requests import decoding
from controlplane.resources.resource import Resource
from controlplane.rpc.permissions import Permissions, note
from pinnace import kinds
from pinnace.api.v1 import access_pb2, access_pb2_grpc, objects_pb2
from pinnace.clock import Clock
from pinnace.errors import NotFound, Unauthenticated
from pinnace.kinds import Kind

_KINDS: dict[tuple[str, str], Kind] = {(kind.api_version, kind.kind): kind for kind in kinds.REVIEWS}


class Access(access_pb2_grpc.AccessServicer):
    def __init__(self, reviews: Reviews, authorizer: Authorizer, permissions: Permissions, clock: Clock) -> None:
        self._reviews = reviews
        self._authorizer = authorizer
        self._may = permissions
        self._clock = clock

    async def Review(self, request: access_pb2.ReviewRequest, context: Any) -> objects_pb2.Object:
        caller = self._may.caller
        if caller is None:
            raise Unauthenticated("the call has no caller")
        user = impersonate(
            self._authorizer,
            caller,
            Impersonation(request.impersonatedUser, tuple(request.impersonatedGroups), request.impersonatedUID),
        )
        kind, review = _open(request.object)
        note(_about(user, kind, review.metadata))
        answer = self._reviews.create(kind, review, user, now=self._clock.now())
        return objects_pb2.Object(apiVersion=kind.api_version, kind=kind.kind, protobuf=answer.SerializeToString())


def _about(user: Identity, kind: Kind, meta: Any) -> Attributes:
    """A review as a request on a resource; a token is a subresource of its account."""
    if kind is kinds.TOKEN_REQUEST:
        kind, part = kinds.SERVICE_ACCOUNT, "token"
        return attributes.on(user, "create", kind, namespace=meta.namespace, name=meta.name, subresource=part)
    return attributes.on(user, "create", kind, namespace=meta.namespace)


def _open(item: objects_pb2.Object) -> tuple[Kind, Any]:
    """Raises NotFound, Invalid, BadRequest."""
    kind = _KINDS.get((item.apiVersion, item.kind))
    if kind is None:
        raise NotFound(f'no review "{item.kind[:80]}" in apiVersion "{item.apiVersion[:80]}"', kind=item.kind[:80])
    resource: Resource[Any] = Resource(kind)
    if item.WhichOneof("body") == "json":
        return kind, decoding.from_json(resource, item.json, "")
    return kind, decoding.from_protobuf(resource, item.protobuf, "")
