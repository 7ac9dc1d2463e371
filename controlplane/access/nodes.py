"""What a node may read of the API: its own Node and Lease, its pods, and what these name.

Agents report by a service of their own, which checks each value (`controlplane.dispatcher.reports`): a node writes no object
here. It may create tokens of the accounts of its pods, which `tokenrequest` binds to such a pod.
Source: plugin/pkg/auth/authorizer/node.
"""

from __future__ import annotations

from controlplane.access.attributes import Attributes
from controlplane.access.authorizer import NO_OPINION, Decision, Rules, Verdict
from controlplane.access.defaultroles import NODE_RULES
from controlplane.access.identity import Identity
from controlplane.access.rbac import Rows
from controlplane.access.rules import RuleTable
from controlplane.resources.pod import NAMED_ON_NODE, named_value
from pinnace import kinds
from pinnace.kinds import Kind
from pinnace.wellknown import NODE_LEASE_NAMESPACE

_READ = ("get", "list", "watch")
_NAMED: dict[tuple[str, str], Kind] = {(kind.group, kind.plural): kind for kind in (kinds.CONFIG_MAP, kinds.SECRET)}
_STORAGE: dict[tuple[str, str], Kind] = {
    (kind.group, kind.plural): kind for kind in (kinds.PERSISTENT_VOLUME_CLAIM, kinds.PERSISTENT_VOLUME)
}
_ALLOW = Decision(Verdict.ALLOW)


def _refused(why: str) -> Decision:
    return Decision(Verdict.NO_OPINION, why)


class NodeAuthorizer:
    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._static = RuleTable(NODE_RULES)

    def authorize(self, request: Attributes) -> Decision:
        node = request.identity.node
        if not node:
            return NO_OPINION
        resource = request.group, request.resource
        if resource in _NAMED:
            return self._named(node, request, _NAMED[resource])
        if resource in _STORAGE:
            return self._storage(node, request, _STORAGE[resource])
        if resource == ("", "serviceaccounts"):
            return self._token(node, request)
        if resource == ("", "pods"):
            return self._pod(node, request)
        if resource in (("", "nodes"), (kinds.LEASE.group, "leases")):
            return _own(node, request)
        return _ALLOW if self._static.allows(request) else NO_OPINION

    def rules_for(self, identity: Identity, namespace: str) -> Rules:
        if not identity.node:
            return Rules(())
        return Rules((), incomplete=True, errors=("node authorizer does not support user rule resolution",))

    def _named(self, node: str, request: Attributes, kind: Kind) -> Decision:
        if request.verb not in _READ:
            return _refused("can only read resources of this type")
        if request.subresource:
            return _refused("cannot read subresource")
        if not request.namespace:
            return _refused("can only read namespaced object of this type")
        return self._related(node, request, kind)

    def _storage(self, node: str, request: Attributes, kind: Kind) -> Decision:
        """A claim that a pod names, or the volume of one."""
        if request.verb != "get":
            return _refused("can only get individual resources of this type")
        if request.subresource:
            return _refused("cannot get subresource")
        if kind is kinds.PERSISTENT_VOLUME_CLAIM:
            return self._related(node, request, kind)
        row = self._rows.row(kind, kind.key("", request.name))
        ref = row.message.spec.claimRef if row is not None else None
        key = kinds.PERSISTENT_VOLUME_CLAIM.key(ref.namespace, ref.name) if ref is not None else ""
        claim = self._rows.row(kinds.PERSISTENT_VOLUME_CLAIM, key) if key else None
        bound = claim is not None and claim.message.spec.volumeName == request.name
        if bound and self._rows.rows_by(kinds.POD, NAMED_ON_NODE, named_value(node, key)):
            return _ALLOW
        return _refused(f"no relationship found between node '{node}' and this object")

    def _token(self, node: str, request: Attributes) -> Decision:
        if request.verb != "create" or not request.name:
            return _refused("can only create tokens for individual service accounts")
        if request.subresource != "token":
            return _refused("can only create token subresource of serviceaccount")
        return self._related(node, request, kinds.SERVICE_ACCOUNT)

    def _related(self, node: str, request: Attributes, kind: Kind) -> Decision:
        if not request.name:
            return _refused("No Object name found")
        key = kind.key(request.namespace, request.name)
        if self._rows.rows_by(kinds.POD, NAMED_ON_NODE, named_value(node, key)):
            return _ALLOW
        return _refused(f"no relationship found between node '{node}' and this object")

    def _pod(self, node: str, request: Attributes) -> Decision:
        if request.verb != "get" or request.subresource not in ("", "status"):
            return _refused("can only get pods")
        row = self._rows.row(kinds.POD, kinds.POD.key(request.namespace, request.name))
        if row is not None and row.message.spec.nodeName == node:
            return _ALLOW
        return _refused(f"no relationship found between node '{node}' and this object")


def _own(node: str, request: Attributes) -> Decision:
    """The Node and the Lease of the node's name."""
    if request.verb != "get" or request.subresource not in ("", "status"):
        return _refused("can only get this type")
    if request.resource == "leases" and request.namespace != NODE_LEASE_NAMESPACE:
        return _refused(f'can only access leases in the "{NODE_LEASE_NAMESPACE}" system namespace')
    return _ALLOW if request.name == node else _refused(f"node '{node}' can only read its own {request.resource}")
