"""Reviews and token requests: a `virtual.Source` that answers what clients create."""

from __future__ import annotations

from typing import Any

from controlplane.access import reviews
from controlplane.access.identity import ANONYMOUS
from controlplane.http.messages import Request, Response
from controlplane.requests import decoding
from controlplane.resources.resource import Resource
from controlplane.resources.reviews import REVIEWS
from controlplane.rest import bodies, negotiation
from controlplane.rest.bodies import FieldValidation
from controlplane.rest.paths import Target
from controlplane.rest.rendering import Renderer
from pinnace import kinds
from pinnace.clock import Clock
from pinnace.errors import MethodNotAllowed

_BY_PLURAL = {(item.kind.api_version, item.kind.plural): item for item in REVIEWS}
_TOKENS = ("", "serviceaccounts", "token")
_TOKEN_REQUEST: Resource[Any] = Resource(kinds.TOKEN_REQUEST)


class Reviews:
    def __init__(self, answers: reviews.Reviews, clock: Clock) -> None:
        self._answers = answers
        self._clock = clock

    def resource(self, target: Target) -> Resource | None:
        if (target.group, target.resource, target.subresource) == _TOKENS:
            return _TOKEN_REQUEST
        return None if target.name else _BY_PLURAL.get((target.api_version, target.resource))

    async def respond(self, request: Request, target: Target, resource: Resource, verb: str) -> Response:
        """Raises ApiError."""
        if verb != "create":
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        form = negotiation.form(request.header("accept"), protobuf=True, tables=False)
        body = await bodies.read(resource, target, request)
        bodies.refuse_unknown(resource, body, FieldValidation.of(request))
        # The status is the server's, and clients send an empty one.
        value = {key: item for key, item in body.value.items() if key != "status"}
        review = decoding.from_value(resource, value, target.namespace)
        now = self._clock.now()
        answer = self._answers.create(resource.kind, review, request.identity or ANONYMOUS, now=now)
        return Response(Renderer(resource, form, now).object(answer), form.content_type, 201)
