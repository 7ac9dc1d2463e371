"""Who asks, and may they: credentials and impersonation of a request, and the authorizers' word on it.

A stranger is system:anonymous, who may read health and the version by RBAC. What else strangers ask for is 401, so that
clients look for credentials.
Source: kube-apiserver's authentication and authorization filters; RFC 6750, section 2.1.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from controlplane.access import attributes
from controlplane.access.attributes import Attributes, forbidden
from controlplane.access.authorizer import Authorizer
from controlplane.access.bearer import BearerTokens
from controlplane.access.identity import ANONYMOUS, Identity
from controlplane.access.impersonation import Impersonation, impersonate
from controlplane.http.messages import Request
from controlplane.rest.paths import Target
from pinnace.clock import Clock
from pinnace.errors import Forbidden, Unauthenticated

log = logging.getLogger("pinnace.rest")
_EXTRA = "impersonate-extra-"


class Callers:
    def __init__(
        self, certificate: Callable[[bytes], Identity], tokens: BearerTokens, authorizer: Authorizer, clock: Clock
    ) -> None:
        """`certificate` is given a client certificate (DER) that the handshake has verified. Raises Unauthenticated."""
        self._certificate = certificate
        self._tokens = tokens
        self._authorizer = authorizer
        self._clock = clock

    def acting(self, request: Request, caller: Identity | None) -> Identity | None:
        """The user that a caller acts as: itself, unless the request says otherwise. Raises Unauthenticated for a stranger's,
        Forbidden, BadRequest."""
        wanted = _impersonation(request.headers)
        if not wanted:
            return caller
        if caller is None:
            raise Unauthenticated("Unauthorized")
        return impersonate(self._authorizer, caller, wanted)

    def authenticated(self, request: Request, certificate: bytes) -> Identity | None:
        """Whose the credentials of a request are; None for a stranger. Raises Unauthenticated, of which the cause is for the
        log alone: it would tell strangers which tokens there were."""
        try:
            return self._authenticate(request, certificate)
        except Unauthenticated as error:
            log.info("rest_unauthenticated peer=%s path=%s cause=%s", request.peer, request.path[:200], error.message[:300])
            raise Unauthenticated("Unauthorized") from None

    def _authenticate(self, request: Request, certificate: bytes) -> Identity | None:
        if certificate:
            return self._certificate(certificate)
        header = request.header("authorization")
        if not header:
            return None
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("Unauthorized")
        return self._tokens.authenticate(token.strip(), now=self._clock.now()).identity

    def require(self, identity: Identity | None, verb: str, target: Target, *, fields: str = "") -> None:
        """Of a resource; `fields` is the field selector of a list or a watch. Raises Forbidden, Unauthenticated."""
        user = identity or ANONYMOUS
        self._decide(
            Attributes(
                user=user.user, groups=user.groups, extra=user.extra, verb=verb, group=target.group, version=target.version,
                resource=target.resource, subresource=target.subresource, namespace=_namespace(target),
                name=target.name or (attributes.selected_name(fields) if fields else ""),
            )
        )  # fmt: skip

    def require_path(self, identity: Identity | None, request: Request) -> None:
        """Of a path that is no resource. Raises Forbidden, Unauthenticated."""
        verb = "get" if request.method == "HEAD" else request.method.lower()[:20]
        self._decide(attributes.at(identity or ANONYMOUS, verb, unquote(request.path)))

    def _decide(self, wanted: Attributes) -> None:
        decision = self._authorizer.authorize(wanted)
        if decision.allowed:
            return
        refusal: Forbidden = forbidden(wanted, decision.reason)
        if wanted.user == ANONYMOUS.user:
            raise Unauthenticated("Unauthorized")
        raise refusal


def _namespace(target: Target) -> str:
    """A namespace is in itself: who may read within it may read it."""
    return target.name if target.resource == "namespaces" and not target.group else target.namespace


def _impersonation(headers: Mapping[str, list[str]]) -> Impersonation:
    extra = {unquote(name.removeprefix(_EXTRA)): values for name, values in headers.items() if name.startswith(_EXTRA)}
    return Impersonation(
        headers.get("impersonate-user", [""])[0], tuple(headers.get("impersonate-group", ())),
        headers.get("impersonate-uid", [""])[0], extra,
    )  # fmt: skip
