"""Virtual resources: those that are answered by a source of their own, because nothing of them is stored.

A request on one takes the same way as any other up to its source: authentication, permission, its turn among other users.
A source is a `Source` here, and its resources are `virtual` in the registry, which puts them into discovery and OpenAPI.
"""

from __future__ import annotations

from typing import Protocol

from controlplane.http.messages import Request, Response
from controlplane.resources.resource import Resource
from controlplane.rest.paths import Target


class Source(Protocol):
    """Answers requests on some virtual resources."""

    def resource(self, target: Target) -> Resource | None:
        """The resource that a path means; None for a path of something else."""

    async def respond(self, request: Request, target: Target, resource: Resource, verb: str) -> Response:
        """The answer to a request that is permitted. Raises ApiError, and MethodNotAllowed for a verb that it has not."""
