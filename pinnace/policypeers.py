"""The pods that peers of NetworkPolicies select, as groups with an ID of their own.

The control plane resolves a group once for all policies and nodes that need it; agents find the groups of a policy by the same
function. So the ID follows from the meaning of the selectors, not from their spelling or from the policy. Pure.
Source: NetworkPolicyPeer of networking/v1.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pinnace import labelselectors
from pinnace.meta.v1.meta_pb2 import LabelSelector
from pinnace.networking.v1.networkpolicy_pb2 import NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort
from pinnace.selectors import Requirement

INGRESS, EGRESS = "Ingress", "Egress"
# Hexadecimal digits of an ID: 160 bits of SHA-256, so that no user can make two groups with one ID.
ID_DIGITS = 40


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of either direction. `path` is that of the rule, `peers_name` the field of its peers."""

    direction: str
    path: str
    ports: Sequence[NetworkPolicyPort]
    peers: Sequence[NetworkPolicyPeer]
    peers_name: str


@dataclass(frozen=True, slots=True)
class PeerSelector:
    """Selects pods: of `namespace`, or, where that is empty, of the namespaces whose labels meet `namespaces`."""

    namespace: str
    namespaces: tuple[Requirement, ...]
    pods: tuple[Requirement, ...]

    def id(self) -> str:
        """The ID of the group: equal for selectors with the same requirements."""
        return _id(self)

    def selects_namespace(self, name: str, labels: Mapping[str, str]) -> bool:
        if self.namespace:
            return self.namespace == name
        return all(requirement.matches(labels) for requirement in self.namespaces)

    def selects_labels(self, labels: Mapping[str, str]) -> bool:
        """Whether it selects pods with these labels, in a namespace that it selects."""
        return all(requirement.matches(labels) for requirement in self.pods)


@functools.lru_cache(maxsize=1024)
def _id(selector: PeerSelector) -> str:
    """Cached: policies of a cluster name few groups, many times."""
    parts = [selector.namespace, _plain(selector.namespaces), _plain(selector.pods)]
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]


ALL_PODS = PeerSelector("", (), ())


def rules(policy: NetworkPolicy) -> Iterator[Rule]:
    """Every rule, also of a direction that the policy does not restrict."""
    for index, ingress in enumerate(policy.spec.ingress):
        # `from` is a keyword of Python.
        yield Rule(INGRESS, f"spec.ingress[{index}]", ingress.ports, getattr(ingress, "from"), "from")
    for index, egress in enumerate(policy.spec.egress):
        yield Rule(EGRESS, f"spec.egress[{index}]", egress.ports, egress.to, "to")


def active_rules(policy: NetworkPolicy) -> Iterator[Rule]:
    """The rules of the directions that the policy restricts; the others have no effect."""
    return (rule for rule in rules(policy) if rule.direction in policy.spec.policyTypes)


def selector_of(namespace: str, peer: NetworkPolicyPeer) -> PeerSelector | None:
    """The pods that a peer of a policy in `namespace` selects; None for a range of addresses."""
    if peer.HasField("ipBlock"):
        return None
    pods = _canonical(peer.podSelector)
    if not peer.HasField("namespaceSelector"):
        return PeerSelector(namespace, (), pods)
    return PeerSelector("", _canonical(peer.namespaceSelector), pods)


def group_id(namespace: str, peer: NetworkPolicyPeer) -> str | None:
    """The ID of the group of a peer of a policy in `namespace`; None for a range of addresses."""
    selector = selector_of(namespace, peer)
    return None if selector is None else selector.id()


def selectors_of(namespace: str, rule: Rule) -> dict[PeerSelector, frozenset[str]]:
    """The groups that a rule of a policy in `namespace` needs, each with the names of ports that it needs of the members. A
    named port is one of the destination, so a rule for egress to everyone, or to a range of addresses, needs those of all
    pods."""
    names = (
        frozenset(port.port.strVal for port in rule.ports if port.port.type == 1) if rule.direction == EGRESS else frozenset()
    )
    found = [selector_of(namespace, peer) for peer in rule.peers]
    if names and (not found or None in found):
        found.append(ALL_PODS)
    return {selector: names for selector in found if selector is not None}


def groups_of(policy: NetworkPolicy) -> dict[str, PeerSelector]:
    """The groups that decide about the traffic of the policy's pods, by ID."""
    found = (selectors_of(policy.metadata.namespace, rule) for rule in active_rules(policy))
    return {selector.id(): selector for selectors in found for selector in selectors}


def _canonical(selector: LabelSelector) -> tuple[Requirement, ...]:
    """Each requirement once, in one order, with values in one order."""
    found = {
        Requirement(item.key, item.operator, tuple(sorted(set(item.values)))) for item in labelselectors.requirements(selector)
    }
    return tuple(sorted(found, key=lambda item: (item.key, item.operator, item.values)))


def _plain(requirements: tuple[Requirement, ...]) -> list[list[object]]:
    return [[item.key, item.operator, list(item.values)] for item in requirements]
