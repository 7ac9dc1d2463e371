"""What one node is to know: its pods, the ConfigMaps, Secrets and RuntimeClasses that these name, and the overlay's peers.

Pure. Fed with rows and events it answers with changes; an agent can see nothing that its pods do not need.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from controlplane.store import Event, Row
from pinnace import kinds, podspec
from pinnace.api.v1 import nodes_pb2, objects_pb2
from pinnace.kinds import Kind

VTEP_ANNOTATION = "pinnace.dev/vtep-mac"
_CONFIG = {"ConfigMap": kinds.CONFIG_MAP, "Secret": kinds.SECRET}
# What pods name.
_NAMED = (*_CONFIG.values(), kinds.RUNTIME_CLASS)


class Rows(Protocol):
    def row(self, kind: Kind, key: str) -> Row | None: ...


class NodeAssignment:
    """The assignment of `node`; `rows` answers for objects that a pod starts to name."""

    def __init__(self, node: str, rows: Rows) -> None:
        self._node = node
        self._rows = rows
        self._pods: dict[str, frozenset[str]] = {}
        self._named: dict[str, int] = {}
        self._peers: dict[str, nodes_pb2.Peer] = {}

    def start(self, rows: Iterable[Row]) -> list[nodes_pb2.Change]:
        """The complete assignment."""
        changes: list[nodes_pb2.Change] = []
        for row in rows:
            # All else comes with the pods that name it.
            if row.kind in (kinds.POD, kinds.NODE):
                changes += self._take(row.kind, row.key, row)
        return changes

    def step(self, events: Iterable[Event]) -> list[nodes_pb2.Change]:
        """What the events change in it."""
        changes: list[nodes_pb2.Change] = []
        for event in events:
            changes += self._take(event.row.kind, event.row.key, event.new)
        return changes

    def _take(self, kind: Kind, key: str, row: Row | None) -> list[nodes_pb2.Change]:
        if kind is kinds.POD:
            return self._pod(key, row)
        if kind is kinds.NODE:
            return self._peer(key, row)
        if kind in _NAMED and key in self._named:
            return [_change(kind, key, row)]
        return []

    def _pod(self, key: str, row: Row | None) -> list[nodes_pb2.Change]:
        pod = row.parse() if row is not None else None
        if pod is None or row is None or pod.spec.nodeName != self._node:
            if key not in self._pods:
                return []
            return [_change(kinds.POD, key, None), *self._unname(self._pods.pop(key))]
        # An ephemeral container that was added may name more than the pod did.
        before, names = self._pods.get(key, frozenset()), config_keys(pod)
        self._pods[key] = names
        # First what the pod needs, so that the agent never sees a pod whose objects are yet to come.
        return [*self._name(names - before), _change(kinds.POD, key, row), *self._unname(before - names)]

    def _name(self, names: Iterable[str]) -> list[nodes_pb2.Change]:
        changes = []
        for name in sorted(names):
            self._named[name] = self._named.get(name, 0) + 1
            if self._named[name] == 1:
                kind = _kind(name)
                row = self._rows.row(kind, name)
                if row is not None:
                    changes.append(_change(kind, name, row))
        return changes

    def _unname(self, names: Iterable[str]) -> list[nodes_pb2.Change]:
        changes = []
        for name in sorted(names):
            self._named[name] -= 1
            if not self._named[name]:
                del self._named[name]
                changes.append(_change(_kind(name), name, None))
        return changes

    def _peer(self, key: str, row: Row | None) -> list[nodes_pb2.Change]:
        peer = peer_of(row.parse()) if row is not None else None
        name = key.rsplit("/", 1)[1]
        if name == self._node or self._peers.get(key) == peer:
            return []
        if peer is None:
            self._peers.pop(key, None)
            return [nodes_pb2.Change(key=f"Peer//{name}")]
        self._peers[key] = peer
        return [nodes_pb2.Change(key=f"Peer//{name}", peer=peer)]


def _kind(key: str) -> Kind:
    return next(kind for kind in _NAMED if key.startswith(kind.prefix))


def _change(kind: Kind, key: str, row: Row | None) -> nodes_pb2.Change:
    name = key.removeprefix(kind.prefix)
    short = f"{kind.kind}/{name}" if kind.namespaced else f"{kind.kind}//{name}"
    if row is None:
        return nodes_pb2.Change(key=short)
    sealed = objects_pb2.Object(apiVersion=kind.api_version, kind=kind.kind, protobuf=row.sealed())
    return nodes_pb2.Change(key=short, object=sealed)


def peer_of(node: Any) -> nodes_pb2.Peer | None:
    """A node as its peers see it, None until it has all that the overlay needs."""
    address = next((item.address for item in node.status.addresses if item.type == "InternalIP"), "")
    mac = node.metadata.annotations.get(VTEP_ANNOTATION, "")
    if not (address and mac and node.spec.podCIDR):
        return None
    return nodes_pb2.Peer(node=node.metadata.name, podCIDR=node.spec.podCIDR, address=address, vtepMac=mac)


def config_keys(pod: Any) -> frozenset[str]:
    """Store keys of the ConfigMaps, Secrets and the RuntimeClass that a pod names."""
    namespace = pod.metadata.namespace
    found: set[tuple[str, str]] = set()
    for volume in pod.spec.volumes:
        source = volume.volumeSource
        if source.HasField("configMap"):
            found.add(("ConfigMap", source.configMap.localObjectReference.name))
        if source.HasField("secret"):
            found.add(("Secret", source.secret.secretName))
        for part in source.projected.sources:
            found.add(("ConfigMap", part.configMap.localObjectReference.name))
            found.add(("Secret", part.secret.localObjectReference.name))
    for _, container in podspec.containers(pod):
        for env in container.env:
            found.add(("ConfigMap", env.valueFrom.configMapKeyRef.localObjectReference.name))
            found.add(("Secret", env.valueFrom.secretKeyRef.localObjectReference.name))
        for source in container.envFrom:
            found.add(("ConfigMap", source.configMapRef.localObjectReference.name))
            found.add(("Secret", source.secretRef.localObjectReference.name))
    for item in pod.spec.imagePullSecrets:
        found.add(("Secret", item.name))
    keys = {_CONFIG[kind].key(namespace, name) for kind, name in found if name}
    if pod.spec.runtimeClassName:
        keys.add(kinds.RUNTIME_CLASS.key("", pod.spec.runtimeClassName))
    return frozenset(keys)
