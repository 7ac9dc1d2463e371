"""The NetworkPolicies of one session: those of the namespaces that its node's pods are in, and the groups that these name.

Like the rest of an assignment it holds keys and versions, and builds messages from what there is when they are sent. A group is
sent before the policy that names it, and a policy before the first pod of its namespace: a new pod is isolated from its start.

The agent names the namespaces of its static pods, which run before and after they are pods of the API. It is told when it has
all policies of such a namespace.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from controlplane.dispatcher.policies import Policy, PolicyTable
from controlplane.dispatcher.policygroups import GROUP, group_key, slice_key
from pinnace import formats, kinds
from pinnace.api.v1 import nodes_pb2, objects_pb2

# Bytes of changes of one group at a time; what is left comes next.
MAX_CHANGE_BYTES = 1 << 20
# A revision before all others, of what the agent may have from an earlier session.
ANNOUNCED = -1
# The kind of the keys by which an agent is told that it has the policies of a namespace that it named.
NAMESPACE = "PolicyNamespace"
# That an agent may name: a node has at most as many static pods.
MAX_NAMESPACES = 100


class Follow(Protocol):
    """Routes what happens to policies of a namespace, or to a group, to the session."""

    def __call__(self, key: str, /) -> None: ...


@dataclass(slots=True)
class _Policy:
    """A policy that the agent has, or is about to; `groups`: those that it has, and those that come before it; `begun`: those
    of them that are on their way."""

    groups: frozenset[str] = frozenset()
    begun: frozenset[str] = frozenset()
    sent: int = 0


@dataclass(slots=True)
class _Group:
    """A group that `count` policies name. `born` and `seen`: the group, and the version of it, that was sent; `slices`: how
    many the agent may have."""

    count: int = 0
    born: int = 0
    seen: int = 0
    slices: int = 0


def namespace_key(namespace: str) -> str:
    """The key under which sessions follow the policies of a namespace."""
    return f"{kinds.NETWORK_POLICY.kind}/{namespace}"


def _named_key(namespace: str) -> str:
    return f"{NAMESPACE}//{namespace}"


def accepted(namespaces: Iterable[str]) -> frozenset[str]:
    """Of the first `MAX_NAMESPACES` that an agent names, those with a valid name. Pure."""
    return frozenset(name for name in itertools.islice(namespaces, MAX_NAMESPACES) if not formats.dns_label(name))


class NodePolicies:
    def __init__(
        self, table: PolicyTable, follow: Follow, unfollow: Follow, send_first: Callable[[Iterable[str]], None]
    ) -> None:  # fmt: skip
        """`send_first`: have `changes` called for these keys before anything else."""
        self._table = table
        self._follow = follow
        self._unfollow = unfollow
        self._send_first = send_first
        # Pods of the node in each namespace; a namespace that the agent names counts as one more.
        self._namespaces: dict[str, int] = {}
        # As the agent names them now, and those of them that are counted.
        self._named = frozenset[str]()
        self._counted = set[str]()
        self._policies: dict[str, _Policy] = {}
        self._groups: dict[str, _Group] = {}

    @staticmethod
    def owns(key: str) -> bool:
        """Whether `changes` and `announce` take this key."""
        return key.startswith((kinds.NETWORK_POLICY.prefix, f"{GROUP}/", f"{NAMESPACE}/"))

    def begin(self, named: frozenset[str]) -> list[str]:
        """The agent names these namespaces when its session begins; returns the keys to send, in order."""
        self._named = named
        self._counted.update(named)
        return [key for namespace in sorted(named) for key in (*self.enter(namespace), _named_key(namespace))]

    def name(self, named: frozenset[str]) -> list[str]:
        """The agent names these namespaces from now on; returns the keys for which `changes` is to be called."""
        changed, self._named = self._named ^ named, named
        return [_named_key(namespace) for namespace in sorted(changed)]

    def enter(self, namespace: str) -> list[str]:
        """The node has one more pod of a namespace; returns the keys to send before it."""
        self._namespaces[namespace] = self._namespaces.get(namespace, 0) + 1
        if self._namespaces[namespace] > 1:
            return []
        self._follow(namespace_key(namespace))
        return self._table.policies_of(namespace)

    def leave(self, namespace: str) -> list[nodes_pb2.Change]:
        """The node has one pod less; with the last one of a namespace its policies leave the assignment."""
        self._namespaces[namespace] -= 1
        if self._namespaces[namespace]:
            return []
        del self._namespaces[namespace]
        self._unfollow(namespace_key(namespace))
        prefix = f"{kinds.NETWORK_POLICY.prefix}{namespace}/"
        return [change for key in [key for key in self._policies if key.startswith(prefix)] for change in self._drop(key)]

    def keys(self) -> list[str]:
        """Everything that may have changed after a time without events."""
        listed = [key for namespace in self._namespaces for key in self._table.policies_of(namespace)]
        return [*(group_key(id) for id in self._groups), *dict.fromkeys((*self._policies, *listed))]

    def close(self) -> None:
        for namespace in self._namespaces:
            self._unfollow(namespace_key(namespace))
        for id in self._groups:
            self._unfollow(group_key(id))
        self._namespaces, self._policies, self._groups = {}, {}, {}
        self._named, self._counted = frozenset(), set()

    def announce(self, key: str) -> list[str]:
        """The agent's keys of something that comes later; until then the agent may have an older one."""
        if key.startswith(f"{NAMESPACE}/"):
            return [key]
        if not key.startswith(kinds.NETWORK_POLICY.prefix):
            return self._announce_group(key.removeprefix(f"{GROUP}//"))
        policy = self._table.policy(key)
        if policy is None:
            return []
        self._acquire(key, policy).sent = ANNOUNCED
        return [_short(key), *(found for id in policy.groups for found in self._announce_group(id))]

    def _announce_group(self, id: str) -> list[str]:
        group, use = self._table.group(id), self._groups.get(id)
        if group is None or use is None:
            return []
        use.slices = max(use.slices, group.slices)
        return [slice_key(id, number) for number in group.occupied()]

    def changes(self, key: str) -> list[nodes_pb2.Change]:
        """Changes of the policy, the group or the named namespace at `key`, since those that were returned before."""
        if key.startswith(kinds.NETWORK_POLICY.prefix):
            return self._policy(key)
        if key.startswith(f"{NAMESPACE}/"):
            return self._namespace(key)
        return self._group(key.removeprefix(f"{GROUP}//"))

    def _namespace(self, key: str) -> list[nodes_pb2.Change]:
        namespace = key.removeprefix(f"{NAMESPACE}//")
        if namespace not in self._named:
            if namespace not in self._counted:
                return []
            self._counted.remove(namespace)
            # In one message: an agent that names it again in between waits for its policies again.
            return [*self.leave(namespace), nodes_pb2.Change(key=key)]
        if namespace not in self._counted:
            self._counted.add(namespace)
            if first := self.enter(namespace):
                self._send_first([*first, key])
                return []
        return [nodes_pb2.Change(key=key, policyNamespace=nodes_pb2.PolicyNamespace())]

    def _policy(self, key: str) -> list[nodes_pb2.Change]:
        namespace = key.removeprefix(kinds.NETWORK_POLICY.prefix).partition("/")[0]
        policy = self._table.policy(key) if namespace in self._namespaces else None
        if policy is None:
            return self._drop(key)
        known = self._acquire(key, policy)
        if policy.row.revision <= known.sent:
            return []
        new = frozenset(id for id in policy.groups if self._is_new(id))
        if not new <= known.begun:
            # Once: a group that fails holds back no policy.
            known.begun = new
            self._send_first([*(group_key(id) for id in sorted(new)), key])
            return []
        left, known.groups, known.sent = known.groups - policy.groups, policy.groups, policy.row.revision
        known.begun = frozenset()
        sealed = objects_pb2.Object(
            apiVersion=policy.row.kind.api_version, kind=policy.row.kind.kind, protobuf=policy.row.encoded()
        )
        return [nodes_pb2.Change(key=_short(key), object=sealed), *self._release(left)]

    def _is_new(self, id: str) -> bool:
        """Whether the agent has nothing of the group, or something of an earlier group of this ID."""
        group = self._table.group(id)
        return group is not None and group.born != self._groups[id].born

    def _drop(self, key: str) -> list[nodes_pb2.Change]:
        known = self._policies.pop(key, None)
        if known is None:
            return []
        gone = [nodes_pb2.Change(key=_short(key))] if known.sent else []
        return [*gone, *self._release(known.groups)]

    def _acquire(self, key: str, policy: Policy) -> _Policy:
        """Follow the groups of a policy, and those that it had before until it is sent."""
        known = self._policies.setdefault(key, _Policy())
        for id in policy.groups - known.groups:
            if id not in self._groups:
                self._groups[id] = _Group()
                self._follow(group_key(id))
            self._groups[id].count += 1
        known.groups |= policy.groups
        return known

    def _release(self, ids: Iterable[str]) -> list[nodes_pb2.Change]:
        changes = []
        for id in sorted(ids):
            use = self._groups[id]
            use.count -= 1
            if not use.count:
                del self._groups[id]
                self._unfollow(group_key(id))
                changes += [nodes_pb2.Change(key=slice_key(id, number)) for number in range(use.slices)]
        return changes

    def _group(self, id: str) -> list[nodes_pb2.Change]:
        group, use = self._table.group(id), self._groups.get(id)
        if group is None or use is None:
            return []
        changes, size = [], 0
        if use.born != group.born:
            # Slices of an earlier group that this one has not.
            changes = [nodes_pb2.Change(key=slice_key(id, number)) for number in range(group.slices, use.slices)]
            use.born, use.seen, use.slices = group.born, 0, min(use.slices, group.slices)
        for number, version, change in group.since(use.seen):
            if size >= MAX_CHANGE_BYTES:
                self._send_first([group_key(id)])
                break
            changes.append(change)
            size += change.ByteSize()
            use.seen, use.slices = version, max(use.slices, number + 1)
        return changes


def _short(key: str) -> str:
    """A policy's store key as agents know it."""
    return f"{kinds.NETWORK_POLICY.kind}/{key.removeprefix(kinds.NETWORK_POLICY.prefix)}"
