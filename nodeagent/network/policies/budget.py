"""The share of a namespace in what a node keeps of NetworkPolicies: one tenant's policies do not take the others' room. Pure.

Of blocks that overlap with those of other namespaces it is not enough: see `shares`.

A *grant* is a peer of a rule with one of its ports: an element for pods that are alike. A *source* is a group, or all blocks of
a rule: an element for each pod. A *range* is a block or an exception of one: an element or two in the node's map of ranges, and
more where they overlap (see `blocks.affordable`). A change of one looks at all of the node.

Policies of a namespace beyond its share allow nothing; they still isolate the pods that they select. The oldest are within it:
a new policy takes nothing from those that are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from nodeagent.network.policies.model import Block, Policy, Ports, Rule, Selection
from nodeagent.network.policies.portblocks import split
from nodeagent.network.policies.profiles import Key


@dataclass(frozen=True, slots=True)
class Size:
    """Of policies. One without rules has one source too: it costs something."""

    grants: int = 0
    sources: int = 0
    ranges: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.grants + other.grants, self.sources + other.sources, self.ranges + other.ranges)

    def __sub__(self, other: Size) -> Size:
        return Size(self.grants - other.grants, self.sources - other.sources, self.ranges - other.ranges)

    def fits(self, most: Size) -> bool:
        return self.grants <= most.grants and self.sources <= most.sources and self.ranges <= most.ranges


# Of all policies of a namespace, on one node.
MOST = Size(100_000, 10_000, 4_000)
NOTHING = Size()


def ports(rule: Rule) -> int:
    """Elements for a peer, at most, for each profile of pods."""
    return max(1, sum(len(split(port)) if isinstance(port, Ports) else 1 for port in rule.ports or ()))


def sources(rule: Rule) -> int:
    if rule.peers is None:
        return 1
    groups = sum(1 for peer in rule.peers if isinstance(peer, Selection))
    return groups + (groups < len(rule.peers))


def size(policy: Policy | None) -> Size:
    if policy is None:
        return NOTHING
    grants = sum(ports(rule) * (1 if rule.peers is None else len(rule.peers)) for rule in policy.rules)
    return Size(grants, max(1, sum(map(sources, policy.rules))), _ranges(policy))


def _ranges(policy: Policy) -> int:
    """Those of several rules count once."""
    found = {peer for rule in policy.rules for peer in rule.peers or () if isinstance(peer, Block)}
    return sum(1 + len(block.excepts) for block in found)


class Budget:
    def __init__(self, most: Size = MOST) -> None:
        self._most = most
        self._policies: dict[str, dict[Key, Policy]] = {}
        self._sizes: dict[Key, Size] = {}
        self._totals: dict[str, Size] = {}
        # Policies that allow nothing, by namespace.
        self.left_out: dict[str, frozenset[Key]] = {}

    def change(self, policies: Mapping[Key, Policy | None]) -> dict[Key, Policy | None]:
        """The policies to enforce in place of these, and of others that are within the share now and were not, or the other way
        round."""
        found = dict[Key, Policy | None](policies)
        for key, policy in policies.items():
            self._set(key, policy)
        for namespace in {key[0] for key in policies}:
            before = self.left_out.pop(namespace, frozenset[Key]())
            now = self._beyond(namespace)
            if now:
                self.left_out[namespace] = now
            there = self._policies.get(namespace, {})
            found |= {key: there[key] for key in before - now if key in there}
            found |= {key: replace(there[key], rules=()) for key in now if key in policies or key not in before}
        return found

    def _set(self, key: Key, policy: Policy | None) -> None:
        there = self._policies.setdefault(key[0], {})
        there.pop(key, None)
        total = self._totals.pop(key[0], NOTHING) - self._sizes.pop(key, NOTHING)
        if policy is not None:
            there[key], self._sizes[key] = policy, size(policy)
            total += self._sizes[key]
        if there:
            self._totals[key[0]] = total
        else:
            del self._policies[key[0]]

    def _beyond(self, namespace: str) -> frozenset[Key]:
        there = self._policies.get(namespace, {})
        if self._totals.get(namespace, NOTHING).fits(self._most):
            return frozenset()
        return frozenset(self._over(sorted(there.values(), key=lambda policy: (policy.created, policy.name))))

    def _over(self, policies: Iterable[Policy]) -> Iterable[Key]:
        room = self._most
        for policy in policies:
            key = policy.namespace, policy.name
            if self._sizes[key].fits(room):
                room -= self._sizes[key]
            else:
                yield key
