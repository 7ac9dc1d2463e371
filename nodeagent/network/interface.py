"""The interface to a node's network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


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


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of the node that leads to one of a pod. `protocol` as nftables writes it; no `host_ip`: every address."""

    protocol: str
    host_ip: str
    host_port: int
    address: str
    port: int

    @property
    def match(self) -> list[Any]:
        """What a packet is asked for, in the order of the map's key."""
        return [*([self.host_ip] if self.host_ip else []), self.protocol, self.host_port]

    @property
    def key(self) -> tuple[Any, ...]:
        return tuple(self.match)


class Network(Protocol):
    async def setup(self, node: Node) -> None:
        """Bring the node's own devices and rules to what `node` wants. Repeatable. Raises NetworkError."""

    async def attach(self, pod: str, netns: Path, address: str, ports: Sequence[HostPort] = ()) -> None:
        """Give a pod's namespace `address` on the node's bridge, and it the node's `ports`. Repeatable. Raises
        NetworkError."""

    def resume(self, pod: str, ports: Sequence[HostPort]) -> None:
        """A pod that was attached before the agent started has these ports; the next `sync` programs them."""

    async def detach(self, pod: str) -> None:
        """Forget a pod. Its device goes with its namespace; what is left is removed."""

    async def sync(self, peers: Sequence[Peer]) -> int:
        """Program exactly these peers; returns how many entries were wrong. Raises NetworkError."""
