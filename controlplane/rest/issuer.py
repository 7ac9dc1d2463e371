"""Pages by which others verify tokens of this cluster's service accounts (OpenID Connect), as kube-apiserver has them.

RBAC decides who may read them: service accounts, by the role system:service-account-issuer-discovery.
Source: kube-apiserver's pkg/routes/openidmetadata.go.
"""

from __future__ import annotations

from controlplane.access import discoverydocument
from controlplane.access.control import AccessControl
from controlplane.http.messages import JSON, Access, Request, Response, Route
from controlplane.rest.bodies import dumps

# How long others may keep the keys.
_HEADERS = (("cache-control", "public, max-age=3600"),)


def routes(access: AccessControl, advertise: str) -> dict[str, Route]:
    """`advertise`: host and port that clients dial. Empty for an issuer that is no https URL, which nobody could look up."""
    if not access.issuer.startswith("https://"):
        return {}
    uri = access.jwks_uri or f"https://{advertise}{discoverydocument.JWKS_PATH}"
    configuration = dumps(discoverydocument.configuration(access.issuer, uri))

    async def discover(request: Request) -> Response:
        return Response(configuration, JSON, 200, _HEADERS)

    async def keys(request: Request) -> Response:
        return Response(dumps(discoverydocument.jwks(access.keys)), discoverydocument.JWKS_TYPE, 200, _HEADERS)

    pages = {discoverydocument.CONFIGURATION_PATH: discover, discoverydocument.JWKS_PATH: keys}
    return {f"{path}{end}": Route(Access.AUTHORIZED, page) for path, page in pages.items() for end in ("", "/")}
