"""Writes the default roles and bindings at every start, and restores what they lack; what was added to them stays.

An object with the annotation rbac.authorization.kubernetes.io/autoupdate: "false" stays as it is.
Source: component-helpers' reconciliation of roles and bindings (auth/rbac/reconciliation), as kube-apiserver uses it.
"""

from __future__ import annotations

from typing import Any

from controlplane.access import defaultroles, rules
from controlplane.requests import verbs
from controlplane.store import Tx
from pinnace import kinds
from pinnace.messages import clone
from pinnace.rbac.v1.rbac_pb2 import ClusterRole, ClusterRoleBinding


def reconcile(tx: Tx, call: verbs.Call) -> None:
    """Create or complete every default role and binding."""
    for role in defaultroles.roles():
        _put(tx, kinds.CLUSTER_ROLE, role, _complete_role, call)
    for binding in defaultroles.bindings():
        _put(tx, kinds.CLUSTER_ROLE_BINDING, binding, _complete_binding, call)


def _put(tx: Tx, kind: Any, wanted: Any, complete: Any, call: verbs.Call) -> None:
    found = tx.get(kind, "", wanted.metadata.name)
    if found is None:
        verbs.create(tx, kind, wanted, call)
        return
    if found.metadata.annotations.get(defaultroles.AUTOUPDATE) == "false":
        return
    completed = clone(found)
    for name in ("labels", "annotations"):
        present = getattr(completed.metadata, name)
        present.update({key: value for key, value in getattr(wanted.metadata, name).items() if key not in present})
    complete(completed, wanted)
    if completed.DESCRIPTOR is ClusterRoleBinding.DESCRIPTOR and found.roleRef != wanted.roleRef:
        # A binding does not change its role: another takes its place.
        verbs.delete(tx, kind, "", wanted.metadata.name, call)
        verbs.create(tx, kind, wanted, call)
    elif completed != found:
        verbs.update(tx, kind, completed, call)


def _complete_role(found: ClusterRole, wanted: ClusterRole) -> None:
    if wanted.HasField("aggregationRule"):
        # Its rules are the controller's.
        found.aggregationRule.CopyFrom(wanted.aggregationRule)
        return
    found.rules.extend(rules.compact(rules.missing(found.rules, wanted.rules)))


def _complete_binding(found: ClusterRoleBinding, wanted: ClusterRoleBinding) -> None:
    found.subjects.extend(subject for subject in wanted.subjects if subject not in found.subjects)
