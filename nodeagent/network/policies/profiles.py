"""The node's pods by what policies can see of them. Pure, and kept up to date by changes.

Pods of a namespace that have the same *profile* are alike to every policy: they differ at most in their addresses, and in
labels that no `podSelector` of the namespace's policies names. So grants are computed, and written to the kernel, once for each
profile.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from nodeagent.network.policies.model import NamedPort, Pod, PodPort, Policy, family_of

# A policy, by namespace and name.
Key = tuple[str, str]


class Traits(NamedTuple):
    """The common properties of pods of one profile. `labels`: those whose keys a selector of the namespace names."""

    namespace: str
    labels: tuple[tuple[str, str], ...]
    ports: tuple[PodPort, ...]
    families: tuple[int, ...]


@dataclass(eq=False, slots=True)
class Profile:
    """Pods that are alike. `digest` is the same after a restart of the agent; `members` are UIDs."""

    traits: Traits
    labels: Mapping[str, str]
    digest: str
    members: set[str] = field(default_factory=set)

    def numbers(self, port: NamedPort) -> list[int]:
        return [item.number for item in self.traits.ports if (item.protocol, item.name) == port]


@dataclass(slots=True)
class Moves:
    """`pods` have another profile or other addresses now, `begun` have their first members, and `ended` none any more."""

    pods: set[str] = field(default_factory=set)
    begun: list[Profile] = field(default_factory=list)
    ended: list[Profile] = field(default_factory=list)


class Profiles:
    def __init__(self) -> None:
        self.pods: dict[str, Pod] = {}
        self._by_pod: dict[str, Profile] = {}
        self._by_traits: dict[Traits, Profile] = {}
        self._in_namespace: dict[str, dict[Traits, Profile]] = {}
        # How many selectors of a namespace's policies name the key of a label.
        self._keys: dict[str, Counter[str]] = {}

    def of(self, uid: str) -> Profile | None:
        return self._by_pod.get(uid)

    def of_namespace(self, namespace: str) -> Iterable[Profile]:
        """Those with members."""
        return self._in_namespace.get(namespace, {}).values()

    def change(self, selectors: Iterable[tuple[str, Policy | None, Policy | None]], pods: Mapping[str, Pod | None]) -> Moves:
        """`selectors`: namespaces with a policy before and after. A key that a selector is the first or the last to name costs
        the pods of the namespace that have such a label."""
        again = self._renamed(self._count(selectors))
        moves, touched = Moves(), dict[Profile, bool]()
        for uid in (again & self.pods.keys()) - pods.keys():
            self._move(uid, self.pods[uid], moves, touched)
        for uid, pod in pods.items():
            self._move(uid, pod, moves, touched)
        for profile, lived in touched.items():
            if bool(profile.members) != lived:
                (moves.ended if lived else moves.begun).append(profile)
            if not profile.members:
                self._drop(profile)
        return moves

    def _count(self, selectors: Iterable[tuple[str, Policy | None, Policy | None]]) -> dict[str, set[str]]:
        """Returns the keys that are named now and were not, or the reverse, by namespace."""
        before = dict[str, set[str]]()
        for namespace, old, new in selectors:
            count = self._keys.setdefault(namespace, Counter())
            before.setdefault(namespace, set(count))
            for policy, step in ((old, -1), (new, 1)):
                for key in {item.key for item in policy.selector} if policy is not None else ():
                    count[key] += step
                    if not count[key]:
                        del count[key]
            if not count:
                del self._keys[namespace]
        return {namespace: keys ^ set(self._keys.get(namespace, ())) for namespace, keys in before.items()}

    def _renamed(self, toggled: Mapping[str, set[str]]) -> set[str]:
        """The pods that have a label with one of these keys."""
        return {
            uid
            for namespace, keys in toggled.items()
            for profile in self.of_namespace(namespace)
            for uid in profile.members
            if keys & self.pods[uid].labels.keys()
        }

    def _move(self, uid: str, pod: Pod | None, moves: Moves, touched: dict[Profile, bool]) -> None:
        old, before = self._by_pod.pop(uid, None), self.pods.pop(uid, None)
        new = self._like(pod) if pod is not None else None
        if before is None or pod is None or new is not old or before.addresses != pod.addresses:
            moves.pods.add(uid)
        for profile in (old, new):
            if profile is not None:
                touched.setdefault(profile, bool(profile.members))
        if old is not None:
            old.members.discard(uid)
        if pod is not None and new is not None:
            self.pods[uid], self._by_pod[uid] = pod, new
            new.members.add(uid)

    def _like(self, pod: Pod) -> Profile:
        keys = self._keys.get(pod.namespace, Counter[str]()).keys()
        labels = tuple((key, pod.labels[key]) for key in sorted(keys & pod.labels.keys()))
        families = tuple(sorted({family_of(address) for address in pod.addresses}))
        traits = Traits(pod.namespace, labels, pod.ports, families)
        if (found := self._by_traits.get(traits)) is None:
            found = Profile(traits, dict(labels), hashlib.sha256(repr(tuple(traits)).encode()).hexdigest())
            self._by_traits[traits] = found
            self._in_namespace.setdefault(pod.namespace, {})[traits] = found
        return found

    def _drop(self, profile: Profile) -> None:
        del self._by_traits[profile.traits]
        there = self._in_namespace[profile.traits.namespace]
        del there[profile.traits]
        if not there:
            del self._in_namespace[profile.traits.namespace]
