"""Changes of policies, groups and pods that wait for the kernel, in portions. Pure.

A portion has the pods and the members of groups that have changed, which every policy may need, and as many policies as take
some tenths of a second. Namespaces with little to do come first, so one with thousands of policies does not delay the others. A
part of a group that is gone waits for the policies that name the group and are about to be changed: they must not lose their
peers before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nodeagent.network.policies import budget
from nodeagent.network.policies.budget import NOTHING, Size
from nodeagent.network.policies.compiler import Changes
from nodeagent.network.policies.model import Group, Pod, Policy, Selection, group_of
from nodeagent.network.policies.profiles import Key

# Elements of a portion, at most: few policies have as many as they might.
PORTION = 50_000


@dataclass(frozen=True, slots=True)
class _Change:
    policy: Policy | None
    # Of the policy, and of the one that it replaces.
    size: Size
    # That the replaced one names.
    groups: frozenset[str]


class Pending:
    def __init__(self, portion: int = PORTION) -> None:
        self._portion = portion
        self._policies: dict[str, dict[Key, _Change]] = {}
        self._sizes: dict[str, Size] = {}
        self._slices: dict[str, Group | None] = {}
        self._pods: dict[str, Pod | None] = {}

    def __bool__(self) -> bool:
        return bool(self._policies or self._slices or self._pods)

    def has_policies(self, namespace: str) -> bool:
        return namespace in self._policies

    def set_policy(self, key: Key, old: Policy | None, new: Policy | None) -> None:
        there = self._policies.setdefault(key[0], {})
        before = there.pop(key, None)
        # What is pending in between is never written.
        size = budget.size(new) + (before.size - budget.size(old) if before else budget.size(old))
        there[key] = _Change(new, size, (before.groups if before else frozenset()) | _groups(old))
        self._sizes[key[0]] = self._sizes.get(key[0], NOTHING) + size - (before.size if before else NOTHING)

    def set_slice(self, name: str, members: Group | None) -> None:
        self._slices.pop(name, None)
        self._slices[name] = members

    def set_pod(self, uid: str, pod: Pod | None) -> None:
        self._pods.pop(uid, None)
        self._pods[uid] = pod

    def clear(self) -> None:
        self._policies, self._sizes, self._slices, self._pods = {}, {}, {}, {}

    def take(self, pods: Mapping[str, int], first: str = "") -> Changes:
        """The next portion; policies of the namespace `first` before others. `pods`: how many the node has of a namespace."""
        policies = {key: change.policy for key, change in self._some(pods, first)}
        held = self._held()
        slices = {name: members for name, members in self._slices.items() if name not in held}
        self._slices = {name: self._slices[name] for name in held}
        changed, self._pods = self._pods, {}
        return Changes(policies, slices, changed)

    def _held(self) -> set[str]:
        gone = {name for name, members in self._slices.items() if not members}
        if not gone or not self._policies:
            return set()
        needed = {group for there in self._policies.values() for change in there.values() for group in change.groups}
        return {name for name in gone if group_of(name) in needed}

    def _some(self, pods: Mapping[str, int], first: str) -> Iterator[tuple[Key, _Change]]:
        def cost(namespace: str, size: Size) -> int:
            return max(size.grants, size.ranges) + size.sources * max(1, pods.get(namespace, 0))

        room = self._portion
        for namespace in sorted(self._policies, key=lambda item: (item != first, cost(item, self._sizes[item]), item)):
            there = self._policies[namespace]
            while there and room > 0:
                key = next(iter(there))
                change = there.pop(key)
                room -= cost(namespace, change.size)
                self._sizes[namespace] -= change.size
                yield key, change
            if not there:
                del self._policies[namespace], self._sizes[namespace]


def _groups(policy: Policy | None) -> frozenset[str]:
    peers = (peer for rule in (policy.rules if policy is not None else ()) for peer in rule.peers or ())
    return frozenset(peer.group for peer in peers if isinstance(peer, Selection))
