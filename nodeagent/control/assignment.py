"""The assignment: what the control plane wants of this node, in memory, on disk, and published to its subscribers.

    session ──► apply ──► stored below `directory` (Secrets below `secrets`, which is memory) ──► subscribers of each kind

An agent that starts without a control plane begins with what is stored. Secrets are kept apart on a tmpfs: they survive a
restart of the agent, and never a reboot. Nothing here knows what a subscriber does with an object.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from nodeagent.control.changes import Change
from nodeagent.control.disk import Disk, read, stored
from nodeagent.control.policygroups import GROUP, PolicyGroups
from nodeagent.control.policynamespaces import NAMESPACE, PolicyNamespaces
from nodeagent.network.interface import Peer
from pinnace import kinds
from pinnace.api.v1 import nodes_pb2
from pinnace.core.v1 import pod_pb2

log = logging.getLogger("pinnace.assignment")
_KINDS = {
    kind.kind: kind
    for kind in (
        kinds.POD, kinds.CONFIG_MAP, kinds.SECRET, kinds.RUNTIME_CLASS, kinds.PERSISTENT_VOLUME_CLAIM, kinds.PERSISTENT_VOLUME,
        kinds.SERVICE, kinds.ENDPOINT_SLICE, kinds.NETWORK_POLICY, kinds.NAMESPACE,
    )
}  # fmt: skip
# Kinds of which a node has all objects of the cluster: thousands may come at once, so they are written by the thread.
_MANY = frozenset((kinds.SERVICE.kind, kinds.ENDPOINT_SLICE.kind, kinds.NAMESPACE.kind))
PEER = "Peer"
# What of a pod's metadata an agent acts on, or shows to containers.
_METADATA = ("uid", "labels", "annotations", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


Subscriber = Callable[[list[Change]], None]


class Assignment:
    def __init__(self, directory: Path, secrets: Path) -> None:
        """`directory` gets `objects/`, `peers/`, `groups/`, `namespaces/`; `secrets` should be on a tmpfs. Raises OSError."""
        self._objects_dir, self._peers_dir, self._secrets_dir = directory / "objects", directory / "peers", secrets
        self._objects: dict[str, Any] = {}
        self._peers: dict[str, Peer] = {}
        self._subscribers: dict[str, list[Subscriber]] = {}
        self._disk = Disk()
        self.groups = PolicyGroups(directory / "groups", self._disk)
        self._namespaces = PolicyNamespaces(directory / "namespaces", self._disk)
        # Pods in each namespace, but for those in the network of the node.
        self._pods_in = Counter[str]()
        # Namespaces whose policies have come since the agent started.
        self._sent = set[str]()
        # Of the last message that was applied.
        self.revision = 0
        # Keys of objects that every node has all of, which this one is yet to get; None before a complete assignment.
        self._awaited: set[str] | None = None
        # Called when it has all of them, after they are published.
        self.all_known: Callable[[], None] = lambda: None
        # Called with the keys of pods that a message has, changed or not; it may have none.
        self.confirmed: Callable[[list[str]], None] = lambda keys: None
        for path in (self._objects_dir, self._peers_dir, self._secrets_dir):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def subscribe(self, kinds_: Iterable[str], subscriber: Subscriber) -> None:
        """Have the changes of these kinds (`Peer` and `PolicyGroup` too) passed on, those of one `apply` together, after all
        are stored."""
        for kind in kinds_:
            self._subscribers.setdefault(kind, []).append(subscriber)

    def lookup(self, kind: str, namespace: str, name: str) -> Any | None:
        """The object, or None; `namespace` is "" for a RuntimeClass and a PersistentVolume."""
        return self._objects.get(f"{kind}/{namespace}/{name}")

    def items(self, kind: str) -> list[Any]:
        """Every object of a kind, such as Service; for reading."""
        prefix = f"{kind}/"
        return [item for key, item in self._objects.items() if key.startswith(prefix)]

    def keys(self) -> list[str]:
        """Of every object."""
        return list(self._objects)

    def pods(self) -> list[tuple[str, Any]]:
        """Key and object of every assigned pod."""
        return [(key, item) for key, item in self._objects.items() if key.startswith("Pod/")]

    def policed(self, namespace: str) -> bool:
        """Whether it has the NetworkPolicies of a namespace, if there are any: it has pods of it, or static pods are in it."""
        return self._pods_in[namespace] > 0 or namespace in self._namespaces

    def sent_policies(self, namespace: str) -> bool:
        """Whether `policed`, and not only from the disk, whose policies may be old."""
        return namespace in self._sent and self.policed(namespace)

    def peers(self) -> list[Peer]:
        return list(self._peers.values())

    def restore(self) -> None:
        """Read what an earlier agent stored, without publishing it. A torn file counts as absent."""
        for path in (*stored(self._objects_dir), *stored(self._secrets_dir)):
            key = path.name.replace("%", "/")
            kind = _KINDS.get(key.partition("/")[0])
            item = read(path, kind.cls) if kind is not None else None
            if item is None:
                continue
            self._objects[key] = item
            self._count(item, 1)
            if kind is kinds.SECRET and path.parent != self._secrets_dir:
                # Versions before 0.2 kept Secrets on the disk.
                self._disk.write(self._path(key), path.read_bytes())
                self._disk.remove(path)
        for path in stored(self._peers_dir):
            if (peer := read(path, nodes_pb2.Peer)) is not None:
                self._peers[path.name] = _peer(peer)
        self.groups.restore()
        self._namespaces.restore()

    def apply(self, assignment: nodes_pb2.Assignment) -> None:
        """Store an assignment, complete or incremental, and publish what it changes."""
        keys = {change.key for change in assignment.changes} | set(assignment.following)
        changes = list(assignment.changes)
        if assignment.complete:
            present = [
                *self._objects, *(f"{PEER}//{name}" for name in self._peers), *self.groups.keys(), *self._namespaces.keys()
            ]  # fmt: skip
            changes += [nodes_pb2.Change(key=key) for key in present if key not in keys]
        self._await(assignment)
        found = [changed for change in changes if (changed := self._contained(change)) is not None]
        found += self.groups.changed()
        self._disk.sync()
        self._publish(found)
        if self._awaited is not None and not self._awaited:
            self.all_known()
        self.revision = assignment.revision
        self.confirmed([item.key for item in assignment.changes if item.key.startswith("Pod/") and item.HasField("object")])

    def _await(self, assignment: nodes_pb2.Assignment) -> None:
        if assignment.complete:
            following = (key for key in assignment.following if key.partition("/")[0] in _MANY)
            self._awaited = {key for key in following if key not in self._objects}
        if self._awaited:
            self._awaited -= {change.key for change in assignment.changes}

    def _contained(self, change: nodes_pb2.Change) -> Change | None:
        """`_change`; one object that this version cannot read costs the others nothing."""
        try:
            return self._change(change)
        except (KeyError, ValueError, DecodeError) as error:
            log.error("not_understood key=%s error=%r", change.key, error)
            return None

    def _change(self, change: nodes_pb2.Change) -> Change | None:
        kind, _, rest = change.key.partition("/")
        if kind == PEER:
            return self._change_peer(rest.strip("/"), change)
        if kind == GROUP:
            self.groups.take(change)
            return None
        if kind == NAMESPACE:
            if change.HasField("policyNamespace"):
                self._sent.add(rest.strip("/"))
            return self._namespaces.take(change)
        old = self._objects.get(change.key)
        path = self._path(change.key)
        if not change.HasField("object"):
            self._disk.remove(path, later=kind in _MANY)
            self._count(old, -1)
            return Change(change.key, self._objects.pop(change.key), None) if old is not None else None
        new: Any = _KINDS[kind].cls.FromString(change.object.protobuf)
        if kind == kinds.POD.kind and not new.spec.hostNetwork:
            self._sent.add(new.metadata.namespace)
        if old is not None and old.metadata.resourceVersion == new.metadata.resourceVersion:
            return None
        self._objects[change.key] = new
        self._count(old, -1)
        self._count(new, 1)
        if old is None or _worth_storing(old, new):
            self._disk.write(path, change.object.protobuf, later=kind in _MANY)
        return Change(change.key, old, new, tuple(change.tokens))

    def _count(self, item: Any | None, by: int) -> None:
        if isinstance(item, pod_pb2.Pod) and not item.spec.hostNetwork:
            self._pods_in[item.metadata.namespace] += by

    def _change_peer(self, name: str, change: nodes_pb2.Change) -> Change | None:
        old, path = self._peers.get(name), self._peers_dir / name.replace("/", "%")
        if not change.HasField("peer"):
            self._disk.remove(path)
            return Change(change.key, self._peers.pop(name), None) if old is not None else None
        new = self._peers[name] = _peer(change.peer)
        if new == old:
            return None
        self._disk.write(path, change.peer.SerializeToString())
        return Change(change.key, old, new)

    def _path(self, key: str) -> Path:
        directory = self._secrets_dir if key.startswith("Secret/") else self._objects_dir
        return directory / key.replace("/", "%")

    def _publish(self, changes: list[Change]) -> None:
        by_kind: dict[str, list[Change]] = {}
        for change in changes:
            by_kind.setdefault(change.key.partition("/")[0], []).append(change)
        # Pods last: what they are subject to is known by then.
        for kind, found in sorted(by_kind.items(), key=lambda item: item[0] == "Pod"):
            for subscriber in self._subscribers.get(kind, ()):
                try:
                    subscriber(found)
                except Exception:
                    log.exception("subscriber_failed kind=%s", kind)

    def close(self) -> None:
        """Wait for what is on its way to the disk."""
        self._disk.close()


def _worth_storing(old: Any, new: Any) -> bool:
    """False where only a pod's status differs, which this agent wrote."""
    if not isinstance(new, pod_pb2.Pod):
        return True
    return old.spec != new.spec or any(getattr(old.metadata, name) != getattr(new.metadata, name) for name in _METADATA)


def _peer(message: nodes_pb2.Peer) -> Peer:
    return Peer(
        message.node, tuple(message.podCIDRs) or (message.podCIDR,), message.address, message.vtepMac, message.wireguardKey
    )
