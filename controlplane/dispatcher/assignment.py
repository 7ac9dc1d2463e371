"""The assignment of one node: its pods, the objects that these name, the policies of their namespaces and of those of static
pods, the volumes to delete, and what every node has: the overlay's peers, Services and EndpointSlices.

Pure but for `issue`, which makes the tokens that pods come with. A NodeAssignment holds keys, not objects: the router marks the
keys that changed, and a message is built from the objects as they are when it is sent. So a slow agent costs no memory, gets
only the latest of each object, and never sees an object go back to an older version. Of other objects an agent can see
nothing that its pods do not need.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from controlplane.dispatcher import podtokens
from controlplane.dispatcher.nodepolicies import ANNOUNCED, NodePolicies
from controlplane.dispatcher.peers import PeerTable
from controlplane.dispatcher.podtokens import Issue
from controlplane.dispatcher.policies import PolicyTable
from controlplane.dispatcher.sharedtable import SharedTable
from controlplane.resources.persistentvolume import reclaiming_node
from controlplane.store import StoredObject
from pinnace import kinds
from pinnace.api.v1 import nodes_pb2, objects_pb2
from pinnace.kinds import Kind
from pinnace.podreferences import config_keys, named_by

log = logging.getLogger("pinnace.dispatcher")
# Bytes of changes in one message, so that none nears gRPC's 4 MiB: a Secret or ConfigMap may be 1 MiB.
MAX_CHANGE_BYTES = 2 << 20
# Kinds of the objects that pods name, and that these name in turn.
NAMED: tuple[Kind, ...] = (
    kinds.CONFIG_MAP, kinds.SECRET, kinds.RUNTIME_CLASS, kinds.PERSISTENT_VOLUME_CLAIM, kinds.PERSISTENT_VOLUME,
)  # fmt: skip


class Rows(Protocol):
    @property
    def revision(self) -> int: ...

    def row(self, kind: Kind, key: str) -> StoredObject | None: ...

    def rows(self, kind: Kind, namespace: str = "") -> list[StoredObject]: ...

    def rows_by(self, kind: Kind, index: str, value: str) -> list[StoredObject]: ...


class Interest(Protocol):
    """Learns which objects an assignment follows, so that their changes are routed to it."""

    def follow(self, key: str, assignment: NodeAssignment, /) -> None: ...

    def unfollow(self, key: str, assignment: NodeAssignment, /) -> None: ...


@dataclass(slots=True)
class _Pod:
    """A pod that the agent was sent, or is about to be; `sent`: its revision, 0 for not yet. `policed`: the namespace whose
    policies apply to it, empty for none."""

    names: frozenset[str]
    sent: int = 0
    policed: str = ""


@dataclass(slots=True)
class _Named:
    """An object that `count` pods or objects name; `sent` as in _Pod. `names`: what it names itself."""

    count: int = 0
    sent: int = 0
    names: frozenset[str] = frozenset()


class NodeAssignment:
    """The assignment of `node`, from the pods that are bound to it when it starts."""

    def __init__(
        self, node: str, rows: Rows, interest: Interest, peers: PeerTable, services: SharedTable, policies: PolicyTable,
        issue: Issue = podtokens.none,
    ) -> None:  # fmt: skip
        self.node = node
        self.peers_seen = self.services_seen = 0
        self._rows = rows
        self._interest = interest
        self._peers = peers
        self._services = services
        self._issue = issue
        self._policies = NodePolicies(
            policies, lambda key: interest.follow(key, self), lambda key: interest.unfollow(key, self), self._send_first
        )
        self._pods: dict[str, _Pod] = {}
        self._named: dict[str, _Named] = {}
        # Volumes whose data the agent is to delete.
        self._reclaimed: set[str] = set()
        # In the order in which they are sent; before these, those that others need, from the last one on.
        self._dirty: dict[str, None] = {}
        self._first: list[str] = []
        self._revision = 0
        self._complete = True
        self._due = False

    def start(self, keys: Iterable[str], static_namespaces: frozenset[str] = frozenset()) -> None:
        """Begin the complete assignment with the pods, and volumes to delete, of these keys: a pod after what it names. The
        agent has static pods in `static_namespaces`."""
        self._dirty.update(dict.fromkeys(self._policies.begin(static_namespaces)))
        for key in keys:
            try:
                self._reference(key)
            except Exception:
                log.exception("assignment_failed node=%s key=%s", self.node, key)
            self._dirty[key] = None

    def mark(self, key: str) -> None:
        """The object at `key` may have changed."""
        self._dirty[key] = None

    def name(self, static_namespaces: frozenset[str]) -> None:
        """The agent has static pods in these namespaces from now on."""
        self._dirty.update(dict.fromkeys(self._policies.name(static_namespaces)))

    def announce(self) -> None:
        """Send the agent the present revision, also if nothing has changed for it."""
        self._due = True

    def keys(self) -> list[str]:
        """Everything that it follows, pods first, and policies before them."""
        return [*self._policies.keys(), *self._pods, *self._named]

    def close(self) -> None:
        for key in self._named:
            self._interest.unfollow(key, self)
        self._named.clear()
        self._policies.close()

    def next(self) -> bytes | None:
        """The next message, a serialized Assignment; None when the agent knows everything. The first one is complete: what it
        neither brings nor lists in `following` is no longer assigned."""
        # All of them before a pod: the environment of its containers has the Services that there are.
        services = self._take_services(MAX_CHANGE_BYTES)
        room = MAX_CHANGE_BYTES - len(services) if self.services_seen == self._services.version else 0
        changes, size = [], 0
        while (self._first or self._dirty) and size < room:
            key = self._first.pop() if self._first else next(iter(self._dirty))
            self._dirty.pop(key, None)
            for change in self._contained(key):
                changes.append(change)
                size += change.ByteSize()
        shared = services + self._take_peers()
        if not (changes or shared or self._complete or self._due):
            return None
        message = nodes_pb2.Assignment(complete=self._complete, appliesTo=self._revision, changes=changes)
        if self._complete:
            message.following.extend(found for key in (*self._first, *self._dirty) for found in self._announce(key))
        if not self._first and not self._dirty and self.services_seen == self._services.version:
            self._revision = self._rows.revision
            self._due = False
        message.revision = self._revision
        self._complete = False
        # Protobuf merges what is appended, and so what all sessions have is serialized once.
        return message.SerializeToString() + shared

    def _announce(self, key: str) -> list[str]:
        """The agent's keys of what comes later; until then the agent may have an older one."""
        if self._policies.owns(key):
            return self._policies.announce(key)
        if self._rows.row(_kind(key), key) is None:
            return []
        if (named := self._named.get(key)) is not None:
            named.sent = ANNOUNCED
        return [_short(key)]

    def _send_first(self, keys: Iterable[str]) -> None:
        self._first += [*keys][::-1]

    def _take_peers(self) -> bytes:
        since = None if self._complete else self.peers_seen
        self.peers_seen = self._peers.version
        return self._peers.since(since, but=self.node)

    def _take_services(self, room: int) -> bytes:
        """Services and EndpointSlices, as far as there is room; a complete assignment lists those that come later."""
        if self.services_seen == self._services.version:
            return b""
        listed = len(self._services.announcement(self.services_seen)) if self._complete else 0
        if room > listed:
            found = self._services.portion(self.services_seen, room - listed)
            self.services_seen = found.seen
            data = found.data
        else:
            data = b""
        return data + self._services.announcement(self.services_seen) if self._complete else data

    def _contained(self, key: str) -> list[nodes_pb2.Change]:
        """`_changes`; an object that fails costs the node's others nothing."""
        try:
            if self._policies.owns(key):
                return self._policies.changes(key)
            kind = _kind(key)
            if kind is kinds.POD:
                return self._pod(key)
            return self._volume(key) if kind is kinds.PERSISTENT_VOLUME else self._object(key)
        except Exception:
            log.exception("assignment_failed node=%s key=%s", self.node, key)
            return []

    def _reference(self, key: str) -> None:
        if _kind(key) is not kinds.POD:
            return
        row = self._rows.row(kinds.POD, key)
        pod = row.message if row is not None else None
        if pod is None or pod.spec.nodeName != self.node:
            return
        self._pods[key] = _Pod(config_keys(pod), policed=_policed(pod))
        if self._pods[key].policed:
            self._dirty.update(dict.fromkeys(self._policies.enter(self._pods[key].policed)))
        for name in sorted(self._pods[key].names):
            if self._name(name).count == 1:
                self._dirty[name] = None

    def _pod(self, key: str) -> list[nodes_pb2.Change]:
        row, known = self._rows.row(kinds.POD, key), self._pods.get(key)
        pod = row.message if row is not None else None
        if pod is None or row is None or pod.spec.nodeName != self.node:
            if known is None:
                return []
            del self._pods[key]
            left = self._policies.leave(known.policed) if known.policed else []
            return [_change(key, None), *self._unname(known.names), *left]
        if known is not None and row.revision <= known.sent:
            return []
        if known is None:
            known = self._pods[key] = _Pod(frozenset())
        earlier, known.policed = known.policed, _policed(pod)
        left = self._policies.leave(earlier) if earlier and earlier != known.policed else []
        first = self._policies.enter(known.policed) if known.policed and known.policed != earlier else []
        if first:
            self._send_first([*first, key])
            return left
        # An ephemeral container that was added may name more than the pod did.
        before, known.names = known.names, config_keys(pod)
        # Once: a message that is lost with its session costs the agent a call.
        tokens = self._issue(pod) if not known.sent else ()
        known.sent = row.revision
        for name in known.names - before:
            self._name(name)
        # First what the pod needs, so that the agent never sees a pod whose objects are yet to come.
        needed = [change for name in sorted(known.names) for change in self._object(name)]
        return [*left, *needed, _change(key, row, tokens), *self._unname(before - known.names)]

    def _object(self, key: str) -> list[nodes_pb2.Change]:
        named = self._named.get(key)
        if named is None:
            return []
        kind = _kind(key)
        row = self._rows.row(kind, key)
        if row is None:
            sent, named.sent = named.sent, 0
            gone, named.names = named.names, frozenset()
            return [*([_change(key, None)] if sent else []), *self._unname(gone)]
        if row.revision <= named.sent:
            return []
        named.sent = row.revision
        before, named.names = named.names, named_by(kind, row.message)
        for name in named.names - before:
            self._name(name)
        needed = [change for name in sorted(named.names) for change in self._object(name)]
        return [*needed, _change(key, row), *self._unname(before - named.names)]

    def _volume(self, key: str) -> list[nodes_pb2.Change]:
        """A volume that pods use, or whose data the agent is to delete."""
        row = self._rows.row(kinds.PERSISTENT_VOLUME, key)
        wanted = row is not None and reclaiming_node(row.message) == self.node
        if wanted and key not in self._reclaimed:
            self._reclaimed.add(key)
            self._name(key)
        changes = self._object(key)
        if not wanted and key in self._reclaimed:
            self._reclaimed.remove(key)
            changes += self._unname((key,))
        return changes

    def _name(self, key: str) -> _Named:
        named = self._named.get(key)
        if named is None:
            named = self._named[key] = _Named()
            self._interest.follow(key, self)
        named.count += 1
        return named

    def _unname(self, names: Iterable[str]) -> list[nodes_pb2.Change]:
        changes = []
        for key in sorted(names):
            named = self._named[key]
            named.count -= 1
            if not named.count:
                del self._named[key]
                self._interest.unfollow(key, self)
                if named.sent:
                    changes.append(_change(key, None))
                changes += self._unname(named.names)
        return changes


def _policed(pod: Any) -> str:
    """The namespace whose policies are about a pod; empty for one in the network of its node."""
    return "" if pod.spec.hostNetwork else str(pod.metadata.namespace)


def _kind(key: str) -> Kind:
    return next(kind for kind in (kinds.POD, *NAMED) if key.startswith(kind.prefix))


def _short(key: str) -> str:
    """A store key as agents know it: KIND/NAMESPACE/NAME."""
    kind = _kind(key)
    name = key.removeprefix(kind.prefix)
    return f"{kind.kind}/{name}" if kind.namespaced else f"{kind.kind}//{name}"


def _change(key: str, row: StoredObject | None, tokens: Iterable[nodes_pb2.PodToken] = ()) -> nodes_pb2.Change:
    if row is None:
        return nodes_pb2.Change(key=_short(key))
    kind = row.kind
    sealed = objects_pb2.Object(apiVersion=kind.api_version, kind=kind.kind, protobuf=row.encoded())
    return nodes_pb2.Change(key=_short(key), object=sealed, tokens=tokens)
