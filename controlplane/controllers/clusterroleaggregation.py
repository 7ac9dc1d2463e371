"""Writes the rules of aggregated ClusterRoles: those of the ClusterRoles that their selectors choose.

The key is an aggregated ClusterRole. A change of any ClusterRole concerns each aggregated one, of which there are few and
which an index finds.
Source: kube-controller-manager's clusterroleaggregation controller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controlplane.controllers.runner import Moment, Requeue
from controlplane.resources.rbac import AGGREGATED
from controlplane.store import Event, Tx
from pinnace import kinds, labelselectors
from pinnace.kinds import Kind
from pinnace.rbac.v1.rbac_pb2 import ClusterRole, PolicyRule


class ClusterRoleAggregation:
    name = "clusterroleaggregation"
    watches: tuple[Kind, ...] = (kinds.CLUSTER_ROLE,)

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        for row in view.by_index(kinds.CLUSTER_ROLE, AGGREGATED, AGGREGATED):
            yield row.message.metadata.name

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        role = tx.get(kinds.CLUSTER_ROLE, "", key)
        if role is None or not role.HasField("aggregationRule"):
            return None
        wanted = list(_rules(tx, role))
        if wanted != list(role.rules):
            del role.rules[:]
            role.rules.extend(wanted)
            tx.put(kinds.CLUSTER_ROLE, role)
        return None


def _rules(tx: Tx, role: ClusterRole) -> Iterator[PolicyRule]:
    """Each rule of the selected ClusterRoles once. Read untracked: a change of any of them reconciles again."""
    rows = [row.message for row in tx.list_untracked(kinds.CLUSTER_ROLE)]
    others = [item for item in rows if item.metadata.name != role.metadata.name]
    seen: set[bytes] = set()
    for selector in role.aggregationRule.clusterRoleSelectors:
        for other in others:
            if not labelselectors.matches(selector, other.metadata.labels):
                continue
            for rule in other.rules:
                encoded = rule.SerializeToString(deterministic=True)
                if encoded not in seen:
                    seen.add(encoded)
                    yield rule
