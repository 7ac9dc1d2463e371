"""NetworkPolicies for all sessions: those that are active, and the groups that they name.

    pod changed        ──► the groups that it enters, leaves or is a changed member of
    namespace changed  ──► its pods, for the groups whose selectors of namespaces it begins or ceases to meet
    policy changed     ──► its new groups, filled from the pods that they may select; then it is active, and agents get it

A new group may cost a look at every pod, so that `activate` is a generator which pauses: others are served in between, and a
policy that names thousands of groups delays itself alone. A policy is active as a whole or not at all.

No method awaits; `policyfeed` calls them and marks the sessions.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass

from controlplane import metrics
from controlplane.dispatcher.policygroups import Group
from controlplane.dispatcher.policymembers import GroupTable, PolicyRows
from controlplane.store import StoredObject
from pinnace import kinds, policypeers
from pinnace.networking.v1.networkpolicy_pb2 import NetworkPolicy

log = logging.getLogger("pinnace.dispatcher")
# Members of all groups of one policy. Groups beyond are left out, so that they select no pods: what one policy makes the
# control plane and the nodes of its pods keep is bounded, and traffic that should have been dropped is not allowed for it.
MAX_POLICY_MEMBERS = 200_000


@dataclass(frozen=True, slots=True)
class Policy:
    """An active policy: its version, and the groups that it names."""

    row: StoredObject
    groups: frozenset[str]


class PolicyTable:
    def __init__(self, rows: PolicyRows) -> None:
        self._rows = rows
        self._groups = GroupTable(rows)
        self.take_pod, self.take_namespace = self._groups.take_pod, self._groups.take_namespace
        self._active: dict[str, Policy] = {}
        # Keys of active policies, by namespace.
        self._by_namespace: dict[str, dict[str, None]] = {}

    def policies_of(self, namespace: str) -> list[str]:
        """Keys of the active policies of a namespace."""
        return list(self._by_namespace.get(namespace, ()))

    def policy(self, key: str) -> Policy | None:
        return self._active.get(key)

    def group(self, id: str) -> Group | None:
        return self._groups.group(id)

    def withdraw(self, key: str) -> set[str]:
        """The policy at `key` is gone: it is not active any more, and its groups lose a user."""
        known = self._active.pop(key, None)
        if known is None:
            return set()
        found = self._by_namespace[_namespace_of(key)]
        del found[key]
        if not found:
            del self._by_namespace[_namespace_of(key)]
        return set[str]().union(*[self._groups.disuse(id, key) for id in known.groups])

    def activate(self, key: str) -> Generator[set[str]]:
        """Make the policy at `key` active as it is now; pauses after each piece of work, with the groups that changed by then.
        Of a policy there is one activation at a time; closed before its end it changes nothing for agents."""
        row = self._rows.row(kinds.NETWORK_POLICY, key)
        if row is None:
            yield self.withdraw(key)
            return
        before = self._active.get(key)
        if before is not None and before.row.revision == row.revision:
            return
        wanted, names, used, members = policypeers.groups_of(row.message), _names_of(row.message), set[str](), 0
        try:
            for id, selector in wanted.items():
                if members > MAX_POLICY_MEMBERS:
                    break
                used.add(id)
                yield from self._groups.use(id, selector, key, names.get(id, frozenset()))
                members += len(self._groups.group(id) or ())
        except GeneratorExit:
            for id in used - (before.groups if before is not None else frozenset()):
                self._groups.disuse(id, key)
            raise
        if len(used) < len(wanted):
            metrics.policy_groups_left_out.inc(len(wanted) - len(used))
            log.error(
                "policy_too_large key=%s members=%d groups=%d left_out=%d", key, members, len(used), len(wanted) - len(used)
            )
        self._active[key] = Policy(row, frozenset(used))
        self._by_namespace.setdefault(_namespace_of(key), {})[key] = None
        left = before.groups - used if before is not None else ()
        if changed := set[str]().union(*[self._groups.disuse(id, key) for id in left]):
            yield changed

    def catch_up(self) -> Iterator[Iterator[set[str]]]:
        """After a time without events: what brings everything up to date, in pieces that pause and may fail each for itself."""
        yield self._groups.catch_up_namespaces()
        policies = [row.key for row in self._rows.rows(kinds.NETWORK_POLICY)]
        for key in dict.fromkeys((*policies, *self._active)):
            yield self.activate(key)
        yield from self._groups.catch_up_pods()


def _namespace_of(key: str) -> str:
    """Of an object of a namespace, by its store key."""
    return key.rsplit("/", 2)[-2]


def _names_of(policy: NetworkPolicy) -> Mapping[str, frozenset[str]]:
    """Names of ports that the policy needs of the members of its groups, by ID: of destinations, as the ports of sources do not
    count, and those of the policy's own pods are known to their agents."""
    found: dict[str, frozenset[str]] = {}
    for rule in policypeers.active_rules(policy):
        for selector, names in policypeers.selectors_of(policy.metadata.namespace, rule).items():
            found[selector.id()] = found.get(selector.id(), frozenset()) | names
    return found
