"""The overlay's peers: one table for all sessions, with each change serialized once.

A session remembers the version up to which it has sent the table, so a session costs no memory for peers, and what a peer
costs does not depend on how often other sessions take it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pinnace.api.v1 import nodes_pb2
from pinnace.wellknown import ANNOTATION_VTEP_MAC

# Removed peers that are kept for sessions that have yet to send their removal.
MAX_REMOVED = 1000


@dataclass(frozen=True, slots=True)
class _Entry:
    """`peer` is None for one that was removed; `data` is an Assignment with this one change."""

    version: int
    peer: nodes_pb2.Peer | None
    data: bytes


class PeerTable:
    def __init__(self) -> None:
        self.version = 0
        # In order of versions.
        self._entries: dict[str, _Entry] = {}
        self._removed = 0

    def put(self, node: str, peer: nodes_pb2.Peer | None) -> bool:
        """Set or remove (None) the peer of a node; returns whether that changes anything."""
        before = self._entries.get(node)
        if peer == (before.peer if before is not None else None):
            return False
        self._entries.pop(node, None)
        if before is not None and before.peer is None:
            self._removed -= 1
        if peer is None:
            self._removed += 1
        self.version += 1
        change = nodes_pb2.Change(key=f"Peer//{node}", peer=peer)
        self._entries[node] = _Entry(self.version, peer, nodes_pb2.Assignment(changes=[change]).SerializeToString())
        return True

    def nodes(self) -> list[str]:
        return [node for node, entry in self._entries.items() if entry.peer is not None]

    def since(self, version: int | None, *, but: str) -> bytes:
        """A serialized Assignment with the peers that changed after `version` (None: all peers), without that of node `but`."""
        if version is None:
            return b"".join([e.data for node, e in self._entries.items() if e.peer is not None and node != but])
        found = []
        for node, entry in reversed(self._entries.items()):
            if entry.version <= version:
                break
            if node != but:
                found.append(entry.data)
        return b"".join(found)

    def prune(self, version: int) -> None:
        """Forget removals up to `version`, which every session has sent."""
        if self._removed > MAX_REMOVED:
            gone = [node for node, entry in self._entries.items() if entry.peer is None and entry.version <= version]
            for node in gone:
                del self._entries[node]
            self._removed -= len(gone)


def peer_of(node: Any) -> nodes_pb2.Peer | None:
    """A node as its peers see it, None until it has all that the overlay needs."""
    address = next((item.address for item in node.status.addresses if item.type == "InternalIP"), "")
    mac = node.metadata.annotations.get(ANNOTATION_VTEP_MAC, "")
    if not (address and mac and node.spec.podCIDR):
        return None
    return nodes_pb2.Peer(node=node.metadata.name, podCIDR=node.spec.podCIDR, address=address, vtepMac=mac)
