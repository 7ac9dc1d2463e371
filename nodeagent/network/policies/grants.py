"""Which pods of the node may talk to which peers, by the policies that select them. Pure, and kept up to date by changes.

A *facet* is a property that peers may have: being everyone, being in a group, having an address in the blocks of a rule, or one
of the last two and a named port. A rule grants ports to the peers with a facet. A change of a policy is computed for the
profiles that it selects, one of a pod only if no other has its profile (see `profiles`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from nodeagent.network.policies import blocks, portblocks
from nodeagent.network.policies.blocks import BlockSet
from nodeagent.network.policies.model import IN, OUT, Block, NamedPort, Pod, Policy, Ports, Rule, Selection
from nodeagent.network.policies.portblocks import PortBlock
from nodeagent.network.policies.profiles import Key, Profile, Profiles


class Facet(NamedTuple):
    """`source` None: everyone. `port`: only peers that have it; it is granted by its number there."""

    source: Selection | BlockSet | None
    port: NamedPort | None = None


EVERYONE = Facet(None)
# Ports of a grant; None: all traffic, or, of a facet with a port, that port.
Granted = frozenset[PortBlock] | None
# Pods of a profile, and a direction.
End = tuple[Profile, str]


@dataclass(slots=True)
class Touched:
    """Where something may differ after a change: grants, the isolation of ends, the use of facets, and the profile or addresses
    of pods, by UID."""

    grants: set[tuple[Facet, End]] = field(default_factory=set)
    ends: set[End] = field(default_factory=set)
    facets: set[Facet] = field(default_factory=set)
    pods: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Contribution:
    """What one policy means for pods that it selects; `ranged` are the directions with ranges of ports."""

    directions: frozenset[str]
    ranged: frozenset[str]
    grants: Mapping[tuple[str, Facet], tuple[Granted, ...]]


class Grants:
    def __init__(self) -> None:
        self.profiles = Profiles()
        self._policies: dict[str, dict[Key, _Policy]] = {}
        self._contributions: dict[Profile, dict[Key, _Contribution]] = {}
        self._by_facet: dict[Facet, dict[End, dict[Key, tuple[Granted, ...]]]] = {}
        self._isolating: dict[End, set[Key]] = {}
        self._ranged: dict[End, set[Key]] = {}

    def isolated(self, end: End) -> bool:
        """Whether a policy restricts the pods in this direction."""
        return end in self._isolating

    def ranged(self, end: End) -> bool:
        """Whether a policy grants a range of ports."""
        return end in self._ranged

    def used(self, facet: Facet) -> bool:
        return facet in self._by_facet

    def ends(self, facet: Facet) -> Iterable[End]:
        """Those that grant anything to peers with the facet."""
        return self._by_facet.get(facet, ())

    def rights(self, facet: Facet) -> frozenset[tuple[End, frozenset[Granted]]]:
        """Equal for facets to which the same is granted."""
        by_end = self._by_facet.get(facet, {})
        return frozenset(
            (end, frozenset(item for granted in by_key.values() for item in granted)) for end, by_key in by_end.items()
        )

    def of(self, facet: Facet, end: End) -> Iterator[Granted]:
        for granted in self._by_facet.get(facet, {}).get(end, {}).values():
            yield from granted

    def change(self, policies: Mapping[Key, Policy | None], pods: Mapping[str, Pod | None]) -> Touched:
        """None: there is none any more."""
        moves = self.profiles.change([(key[0], self._policy(key), new) for key, new in policies.items()], pods)
        touched = Touched(pods=moves.pods)
        for profile in moves.ended:
            for key in list(self._contributions.get(profile, ())):
                self._contribute(profile, key, None, touched)
        for key, policy in policies.items():
            self._change_policy(key, policy, touched)
        for profile in moves.begun:
            for key, found in self._policies.get(profile.traits.namespace, {}).items():
                if key not in policies:
                    self._contribute(profile, key, found, touched)
        return touched

    def _policy(self, key: Key) -> Policy | None:
        found = self._policies.get(key[0], {}).get(key)
        return found.policy if found is not None else None

    def _change_policy(self, key: Key, policy: Policy | None, touched: Touched) -> None:
        there = self._policies.setdefault(key[0], {})
        there.pop(key, None)
        if policy is not None:
            there[key] = _Policy(policy)
        new = there.get(key)
        if not there:
            del self._policies[key[0]]
        for profile in self.profiles.of_namespace(key[0]):
            self._contribute(profile, key, new, touched)

    def _contribute(self, profile: Profile, key: Key, policy: _Policy | None, touched: Touched) -> None:
        """Have the grants of the policy to pods of the profile in place of those that it made before."""
        new = policy.contribution(profile) if policy is not None else None
        mine = self._contributions.setdefault(profile, {})
        if (old := mine.pop(key, None)) is not None:
            self._remove(profile, key, old, touched)
        if new is not None:
            mine[key] = new
            self._add(profile, key, new, touched)
        if not mine:
            del self._contributions[profile]

    def _remove(self, profile: Profile, key: Key, old: _Contribution, touched: Touched) -> None:
        for keys, directions in ((self._isolating, old.directions), (self._ranged, old.ranged)):
            for direction in directions:
                end = (profile, direction)
                keys[end].discard(key)
                if not keys[end]:
                    touched.ends.add(end)
                    del keys[end]
        for direction, facet in old.grants:
            end = (profile, direction)
            touched.grants.add((facet, end))
            touched.facets.add(facet)
            by_end = self._by_facet[facet]
            del by_end[end][key]
            if not by_end[end]:
                del by_end[end]
            if not by_end:
                del self._by_facet[facet]

    def _add(self, profile: Profile, key: Key, new: _Contribution, touched: Touched) -> None:
        for keys, directions in ((self._isolating, new.directions), (self._ranged, new.ranged)):
            for direction in directions:
                end = (profile, direction)
                if end not in keys:
                    touched.ends.add(end)
                keys.setdefault(end, set()).add(key)
        for (direction, facet), granted in new.grants.items():
            end = (profile, direction)
            touched.grants.add((facet, end))
            touched.facets.add(facet)
            self._by_facet.setdefault(facet, {}).setdefault(end, {})[key] = granted


class _Policy:
    """A policy, and what it means for the pods that it selects: the same for all of them, unless the ports of ingress have
    names."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        named = any(isinstance(port, NamedPort) for rule in policy.rules if rule.direction == IN for port in rule.ports or ())
        self._common = None if named else _contribution(policy, None)

    def contribution(self, profile: Profile) -> _Contribution | None:
        """None for pods that it does not select."""
        if not self.policy.selects(profile.traits.namespace, profile.labels):
            return None
        return self._common or _contribution(self.policy, profile)


def _contribution(policy: Policy, profile: Profile | None) -> _Contribution:
    found: dict[tuple[str, Facet], tuple[Granted, ...]] = {}
    for rule in policy.rules:
        if rule.direction in policy.directions:
            for facet, granted in _granted(rule, profile):
                found[rule.direction, facet] = (*found.get((rule.direction, facet), ()), granted)
    ranged = {key[0] for key, grants in found.items() if any(item.size > 1 for granted in grants for item in granted or ())}
    return _Contribution(policy.directions, frozenset(ranged), found)


def _granted(rule: Rule, profile: Profile | None) -> Iterator[tuple[Facet, Granted]]:
    """A named port is one of the pod's for traffic to it, and one of the peer's for traffic from it."""
    ports, names = set[PortBlock](), list[NamedPort]()
    for port in rule.ports or ():
        if isinstance(port, Ports):
            ports |= portblocks.split(port)
        elif rule.direction == OUT:
            names.append(port)
        elif profile is not None:
            ports |= {PortBlock(port.protocol, 1, number) for number in profile.numbers(port)}
    for source in _sources(rule):
        if rule.ports is None or ports:
            yield Facet(source), None if rule.ports is None else frozenset(ports)
        for name in names:
            yield Facet(source, name), None


def _sources(rule: Rule) -> list[Selection | BlockSet | None]:
    if rule.peers is None:
        return [None]
    ranges = [peer for peer in rule.peers if isinstance(peer, Block)]
    found: list[Selection | BlockSet | None] = [peer for peer in rule.peers if isinstance(peer, Selection)]
    return [*found, blocks.set_of(ranges)] if ranges else found
