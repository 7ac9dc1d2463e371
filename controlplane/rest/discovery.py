"""Discovery documents by path: what is served, aggregated or in the form of older clients.

Source: "Discovery API" of the Kubernetes API concepts.
"""

from __future__ import annotations

from typing import Any

from controlplane.http.messages import Request, Response
from controlplane.requests import discovery
from controlplane.resources.registry import Registry
from controlplane.rest import negotiation
from controlplane.rest.bodies import dumps
from pinnace.errors import NotAcceptable

_AGGREGATED = "apidiscovery.k8s.io"
_KIND = "APIGroupDiscoveryList"


class Discovery:
    def __init__(self, registry: Registry, server: str) -> None:
        """`server`: host and port, which legacy discovery tells clients."""
        self._registry = registry
        self._server = server

    def respond(self, request: Request) -> Response | None:
        """None for a path that is no discovery document."""
        parts = request.path.strip("/").split("/")
        groups = discovery.groups(self._registry)
        if parts in (["api"], ["apis"]):
            core = parts == ["api"]
            version = _aggregated_version(request.header("accept"))
            if version:
                found = discovery.aggregated([group for group in groups if bool(group.name) is not core])
                found["apiVersion"] = f"{_AGGREGATED}/{version}"
                return Response(dumps(found), f"{negotiation.JSON};g={_AGGREGATED};v={version};as={_KIND}")
            return _json(request, self._versions() if core else discovery.group_list(groups))
        document = self._document(parts, groups)
        return None if document is None else _json(request, document)

    def _versions(self) -> dict[str, Any]:
        address = {"clientCIDR": "0.0.0.0/0", "serverAddress": self._server}
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [address]}

    def _document(self, parts: list[str], groups: list[discovery.ServedGroup]) -> dict[str, Any] | None:
        if parts == ["api", "v1"]:
            parts = ["apis", "", "v1"]
        if parts[0] != "apis" or len(parts) not in (2, 3):
            return None
        group = next((found for found in groups if found.name == parts[1]), None)
        if group is None:
            return None
        if len(parts) == 2:
            return discovery.group_document(group)
        version = next((found for found in group.versions if found.version == parts[2]), None)
        return None if version is None else discovery.resource_list(version)


def _aggregated_version(accept: str) -> str:
    """The version of the aggregated form that the client prefers to the legacy one; empty: none."""
    for media in negotiation.accepted(accept):
        if media.type not in (negotiation.JSON, "*/*", "application/*"):
            continue
        if not media.parameters.get("as"):
            return ""
        if media.parameters.get("g") == _AGGREGATED and media.parameters.get("as") == _KIND:
            if media.parameters.get("v") in ("v2", "v2beta1"):
                return media.parameters["v"]
    return ""


def _json(request: Request, document: dict[str, Any]) -> Response:
    if not any(
        media.type in ("*/*", "application/*", negotiation.JSON) for media in negotiation.accepted(request.header("accept"))
    ):
        raise NotAcceptable("only the following media types are accepted: application/json")
    return Response(dumps(document), negotiation.JSON)
