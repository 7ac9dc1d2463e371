"""The overlay's peers: one table for all sessions.

A session sends all of it but the node's own entry.
"""

from __future__ import annotations

from typing import Any

from controlplane.dispatcher.sharedtable import SharedTable
from pinnace import nodenetwork
from pinnace.api.v1 import nodes_pb2
from pinnace.wellknown import ANNOTATION_VTEP_MAC, ANNOTATION_WIREGUARD_KEY


class PeerTable:
    def __init__(self) -> None:
        self._table = SharedTable()

    @property
    def version(self) -> int:
        return self._table.version

    def put(self, node: str, peer: nodes_pb2.Peer | None) -> bool:
        """Set or remove (None) the peer of a node; returns whether that changes anything."""
        identity = peer.SerializeToString(deterministic=True) if peer is not None else None
        return self._table.set(_key(node), identity, lambda: nodes_pb2.Change(key=_key(node), peer=peer))

    def nodes(self) -> list[str]:
        return [key.removeprefix(_key("")) for key in self._table.present()]

    def since(self, version: int | None, *, but: str) -> bytes:
        """A serialized Assignment with the peers that changed after `version` (None: all peers), without that of node `but`."""
        own = _key(but)
        return self._table.all(but=own) if version is None else self._table.since(version, but=own)

    def prune(self, version: int) -> None:
        """Forget removals up to `version`, which every session has sent."""
        self._table.prune(version)


def _key(node: str) -> str:
    return f"Peer//{node}"


def peer_of(node: Any) -> nodes_pb2.Peer | None:
    """A node as its peers see it, None until it has all that the overlay needs."""
    addresses, cidrs = nodenetwork.internal_ips(node), nodenetwork.pod_cidrs(node)
    mac = node.metadata.annotations.get(ANNOTATION_VTEP_MAC, "")
    if not (addresses and mac and cidrs):
        return None
    return nodes_pb2.Peer(
        node=node.metadata.name,
        podCIDR=cidrs[0],
        address=addresses[0],
        vtepMac=mac,
        podCIDRs=cidrs,
        addresses=addresses,
        wireguardKey=node.metadata.annotations.get(ANNOTATION_WIREGUARD_KEY, ""),
    )
