"""The seam to a node's network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class NetworkError(Exception):
    """The network could not be programmed; the text is for people."""


@dataclass(frozen=True, slots=True)
class Node:
    """This node in the overlay. `address` is the underlay's, `mac` that of its VXLAN device."""

    pod_cidr: str
    cluster_cidrs: tuple[str, ...]
    address: str
    mac: str
    vni: int
    port: int


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node, as this one programs it."""

    name: str
    pod_cidr: str
    address: str
    mac: str


class Network(Protocol):
    async def setup(self, node: Node) -> None:
        """Bring the node's own devices and rules to what `node` wants. Repeatable. Raises NetworkError."""

    async def attach(self, pod: str, netns: Path, address: str) -> None:
        """Give a pod's namespace `address` on the node's bridge. Repeatable. Raises NetworkError."""

    async def detach(self, pod: str) -> None:
        """Forget a pod. Its device goes with its namespace; what is left is removed."""

    async def sync(self, peers: Sequence[Peer]) -> int:
        """Program exactly these peers; returns how many entries were wrong. Raises NetworkError."""
