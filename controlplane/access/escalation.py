"""Who grants permissions has them: an admission plugin for roles and bindings.

A user may write a role with rules that the user holds in that namespace, or with the verb `escalate` on the role; and may
bind a role of which the user holds all rules, or with the verb `bind` on it. An aggregation rule takes cluster-admin's rights,
because roles to come add to it. Members of system:masters, and the control plane itself, are not checked.
Source: registry/rbac (clusterrole/policybased, rolebinding/policybased) and ConfirmNoEscalation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controlplane.access import rules
from controlplane.access.attributes import on
from controlplane.access.authorizer import Authorizer
from controlplane.access.identity import MASTERS, Identity
from controlplane.access.rbac import RBAC
from controlplane.resources.plugin import DELETE, Attributes, BasePlugin, Caller
from controlplane.store import Tx
from pinnace import kinds
from pinnace.errors import Forbidden
from pinnace.fielderrors import quoted
from pinnace.rbac.v1.rbac_pb2 import PolicyRule

_ROLES = (kinds.ROLE, kinds.CLUSTER_ROLE)
_BINDINGS = (kinds.ROLE_BINDING, kinds.CLUSTER_ROLE_BINDING)
_FULL = (
    PolicyRule(verbs=["*"], apiGroups=["*"], resources=["*"]),
    PolicyRule(verbs=["*"], nonResourceURLs=["*"]),
)
# Missing rules that an error lists.
MAX_LISTED = 20


class Escalation(BasePlugin):
    """Checks what a new or changed role or binding grants."""

    name = "RBACEscalation"

    def __init__(self, authorizer: Authorizer, rbac: RBAC) -> None:
        self._authorizer = authorizer
        self._rbac = rbac

    def validate(self, tx: Tx, request: Attributes) -> None:
        """Raises Forbidden; NotFound for a binding to a role that does not exist."""
        kind = request.resource.kind
        if request.caller is None or request.operation == DELETE or kind not in (*_ROLES, *_BINDINGS):
            return
        caller = _identity(request.caller)
        if MASTERS in caller.groups:
            return
        try:
            if kind in _ROLES:
                self._check_role(caller, request)
            else:
                self._check_binding(caller, request)
        except Forbidden as error:
            name = request.message.metadata.name
            text = f"{kind.resource} {quoted(name)} is forbidden: {error.message}"
            raise Forbidden(text, kind=kind.resource, name=name) from None

    def _check_role(self, caller: Identity, request: Attributes) -> None:
        kind, new, old = request.resource.kind, request.message, request.old
        if old is not None and _granted(old) == _granted(new):
            return
        meta = new.metadata
        if self._may(caller, "escalate", kind, meta.namespace, meta.name):
            return
        self._confirm(caller, meta.namespace, new.rules)
        if kind is kinds.CLUSTER_ROLE and any(item.HasField("aggregationRule") for item in (new, old) if item is not None):
            if rules.missing(self._held(caller, ""), _FULL):
                raise Forbidden("must have cluster-admin privileges to use an aggregationRule")

    def _check_binding(self, caller: Identity, request: Attributes) -> None:
        new, old = request.message, request.old
        if old is not None and (list(old.subjects), old.roleRef) == (list(new.subjects), new.roleRef):
            return
        namespace, role = new.metadata.namespace, new.roleRef
        kind = kinds.ROLE if role.kind == kinds.ROLE.kind else kinds.CLUSTER_ROLE
        if self._may(caller, "bind", kind, namespace, role.name):
            return
        self._confirm(caller, namespace, self._rbac.rules_of(role, namespace))

    def _may(self, caller: Identity, verb: str, kind: Any, namespace: str, name: str) -> bool:
        """`namespace` counts for a ClusterRole too, which a RoleBinding grants within it."""
        request = on(caller, verb, kind, namespace=namespace, name=name, within=namespace)
        return self._authorizer.authorize(request).allowed

    def _held(self, caller: Identity, namespace: str) -> Sequence[PolicyRule]:
        return self._rbac.rules_for(caller, namespace).rules

    def _confirm(self, caller: Identity, namespace: str, wanted: Sequence[PolicyRule]) -> None:
        """Raises Forbidden, naming the rules that the caller does not hold."""
        found = rules.compact(rules.missing(self._held(caller, namespace), wanted))
        if not found:
            return
        lines = sorted({rules.describe(rule) for rule in found})
        groups = " ".join(quoted(group) for group in caller.groups)
        more = f"\n... and {len(lines) - MAX_LISTED} more" if len(lines) > MAX_LISTED else ""
        raise Forbidden(
            f"user {quoted(caller.user)} (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n"
            + "\n".join(lines[:MAX_LISTED])
            + more
        )


def _granted(role: Any) -> tuple[Any, ...]:
    return list(role.rules), getattr(role, "aggregationRule", None)


def _identity(caller: Caller) -> Identity:
    return Identity(caller.user, caller.groups, uid=caller.uid, extra=caller.extra)
