"""New tokens of service accounts: TokenRequest. It reads the store and writes nothing.

Source: registry/core/serviceaccount/storage (token.go), ValidateTokenRequest, and the NodeRestriction admission plugin.
"""

from __future__ import annotations

from typing import Any

from controlplane.access.accounttokens import BOUND, AccountTokens, Bound, Claims
from controlplane.access.identity import Identity
from controlplane.access.rbac import Rows
from pinnace import codec, fielderrors, kinds
from pinnace.authentication.v1.authentication_pb2 import TokenRequest
from pinnace.clock import Ids
from pinnace.errors import BadRequest, Cause, Conflict, Forbidden, Invalid, NotFound
from pinnace.kinds import Kind

# Seconds.
MIN_LIFETIME, MAX_LIFETIME, DEFAULT_LIFETIME = 600, 1 << 32, 3600
MAX_AUDIENCES = 100


class TokenRequests:
    def __init__(self, rows: Rows, tokens: AccountTokens, ids: Ids) -> None:
        self._rows = rows
        self._tokens = tokens
        self._ids = ids

    def create(self, request: TokenRequest, caller: Identity, *, now: float) -> TokenRequest:
        """The request with its token, which the caller may have. Raises Invalid, NotFound, Conflict, BadRequest, Forbidden."""
        _validate(request)
        namespace, spec = request.metadata.namespace, request.spec
        account = self._get(kinds.SERVICE_ACCOUNT, namespace, request.metadata.name)
        bound = self._bound(account, spec.boundObjectRef) if spec.HasField("boundObjectRef") else {}
        if caller.node:
            self._check_node(caller.node, namespace, bound, spec.boundObjectRef.uid)
        lifetime = spec.expirationSeconds if spec.HasField("expirationSeconds") else DEFAULT_LIFETIME
        made = TokenRequest()
        made.CopyFrom(request)
        made.spec.expirationSeconds = lifetime
        if not spec.audiences:
            made.spec.audiences.extend(self._tokens.audiences)
        claims = Claims(
            namespace, Bound(account.metadata.name, account.metadata.uid), tuple(made.spec.audiences), int(now),
            int(now) + lifetime, self._ids.uid(), bound,
        )  # fmt: skip
        made.status.token = self._tokens.sign(claims)
        made.status.expirationTimestamp.CopyFrom(codec.time_of(claims.expires))
        return made

    def _bound(self, account: Any, ref: Any) -> dict[str, Bound]:
        """What the token ends with, and the node of its pod."""
        name = ref.kind.lower()
        if name not in BOUND or ref.apiVersion != "v1" or ref.kind != BOUND[name].kind:
            raise BadRequest(f"cannot bind token to object of type {ref.apiVersion}, Kind={ref.kind}"[:300])
        kind = BOUND[name]
        found = self._get(kind, account.metadata.namespace if kind.namespaced else "", ref.name)
        uid = found.metadata.uid
        if ref.uid and ref.uid != uid:
            raise Conflict(
                f"the UID in the bound object reference ({ref.uid}) does not match the UID in record. The object might have "
                "been deleted and then recreated",
                kind=kind.resource,
                name=ref.name,
            )
        bound = {name: Bound(ref.name, uid)}
        if kind is kinds.POD:
            bound |= self._node_of(account, found)
        return bound

    def _node_of(self, account: Any, pod: Any) -> dict[str, Bound]:
        """Raises BadRequest for a pod of another account."""
        name = account.metadata.name
        if pod.spec.serviceAccountName != name:
            raise BadRequest(
                f'cannot bind token for serviceaccount "{name}" to pod running with different serviceaccount name.'
            )
        row = self._rows.row(kinds.NODE, kinds.NODE.key("", pod.spec.nodeName)) if pod.spec.nodeName else None
        return {} if row is None else {"node": Bound(pod.spec.nodeName, row.message.metadata.uid)}

    def _check_node(self, node: str, namespace: str, bound: dict[str, Bound], uid: str) -> None:
        """A node gets tokens that end with a pod of its own. Raises Forbidden."""
        if "pod" not in bound:
            raise Forbidden("node requested token not bound to a pod")
        if not uid:
            raise Forbidden("node requested token with a pod binding without a uid")
        if self._get(kinds.POD, namespace, bound["pod"].name).spec.nodeName != node:
            raise Forbidden("node requested token bound to a pod scheduled on a different node")

    def _get(self, kind: Kind, namespace: str, name: str) -> Any:
        row = self._rows.row(kind, kind.key(namespace, name))
        if row is None:
            raise NotFound.of(kind.resource, name)
        return row.message


def _validate(request: TokenRequest) -> None:
    """Raises Invalid."""
    spec, errors = request.spec, list[Cause]()
    field = "spec.expirationSeconds"
    if spec.HasField("expirationSeconds"):
        if spec.expirationSeconds < MIN_LIFETIME:
            errors.append(fielderrors.invalid(field, spec.expirationSeconds, "may not specify a duration less than 10 minutes"))
        elif spec.expirationSeconds > MAX_LIFETIME:
            errors.append(
                fielderrors.invalid(field, spec.expirationSeconds, "may not specify a duration larger than 2^32 seconds")
            )
    if len(spec.audiences) > MAX_AUDIENCES:
        errors.append(fielderrors.too_many("spec.audiences", len(spec.audiences), MAX_AUDIENCES))
    if errors:
        raise Invalid.of("TokenRequest.authentication.k8s.io", request.metadata.name[:253], tuple(errors))
