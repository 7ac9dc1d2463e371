"""The interface to a node's network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from nodeagent.network.policies.model import Pod


class NetworkError(Exception):
    """The network could not be programmed; the text is for people."""


class Errors(list[NetworkError]):
    """Of steps that are taken independently of each other."""

    def attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
        except NetworkError as error:
            self.append(error)

    def check(self) -> None:
        """Raises the first error, with the others as notes."""
        if self:
            first, *others = self
            for other in others:
                first.add_note(str(other))
            raise first


@dataclass(frozen=True, slots=True)
class Node:
    """This node in the overlay. `pod_cidrs` has one for each address family that its pods have, the primary one first;
    `address` is the underlay's, of either family; `mac` is that of its VXLAN device."""

    pod_cidrs: tuple[str, ...]
    cluster_cidrs: tuple[str, ...]
    address: str
    mac: str
    vni: int
    port: int
    name: str = ""
    # Empty: it has none.
    zone: str = ""
    # Ranges of Services' addresses, and those of the cluster's DNS.
    service_cidrs: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    # All of the node's, one of each address family, that of the underlay first.
    addresses: tuple[str, ...] = ()
    # Packets to other nodes are encrypted; see `wireguard`.
    encrypt: bool = False
    # Flows are learnt from its packets; see `fastpath`.
    fast_path: bool = False

    @property
    def pod_cidr(self) -> str:
        """Of the primary family."""
        return self.pod_cidrs[0]


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node, as this one programs it; its fields are those of Node."""

    name: str
    pod_cidrs: tuple[str, ...]
    address: str
    mac: str
    # Of WireGuard; empty for none.
    key: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Deviation:
    """A part of the kernel's state that is not as wanted; empty `wanted` or `actual`: there should be none, or is none."""

    kind: str
    item: str
    wanted: str
    actual: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The kernel's state compared with the wanted one: `found` are the differences. `errors` are of parts that could not be
    compared or repaired; the others were. `clash` names what of the host is in the way, which is not repaired; empty for
    nothing. `left` are those of `found` that a repair has left."""

    found: list[Deviation] = field(default_factory=list)
    errors: Errors = field(default_factory=Errors)
    clash: str = ""
    left: list[Deviation] = field(default_factory=list)

    @property
    def repaired(self) -> list[Deviation]:
        """Of a comparison that repairs."""
        left = set(self.left)
        return [item for item in self.found if item not in left]


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


class PodIsolation(Protocol):
    """What NetworkPolicies allow the pods of this node."""

    async def isolate(self, uid: str, pod: Pod) -> None:
        """Have the rules for a pod, before it is attached. Repeatable. Raises NetworkError."""

    def update(self, uid: str, pod: Pod | None) -> None:
        """A pod that was attached before the agent started, or (None) that is gone."""

    def relabel(self, uid: str, labels: dict[str, str]) -> None:
        """The pod has other labels."""


class Network(Protocol):
    async def setup(self, node: Node) -> None:
        """Bring the node's own devices and rules to what `node` wants. Repeatable. Raises NetworkError."""

    async def attach(self, pod: str, netns: Path, addresses: Sequence[str], ports: Sequence[HostPort] = ()) -> None:
        """Give a pod's namespace `addresses` on the node's bridge, one of each address family at most, and the pod the node's
        `ports`, to which connections of before have ended then. Repeatable. Raises NetworkError."""

    def resume(self, pod: str, netns: Path, addresses: Sequence[str], ports: Sequence[HostPort]) -> None:
        """A pod that was attached before the agent started, as `attach` has it; the next `sync` programs its ports."""

    async def detach(self, pod: str) -> None:
        """Forget a pod. Its device goes with its namespace; what is left is removed."""

    async def serve_names(self, addresses: Sequence[str]) -> None:
        """Have the node answer at the cluster DNS addresses, and at no earlier ones. Repeatable. Raises NetworkError."""

    async def sync(self, peers: Sequence[Peer]) -> int:
        """Program exactly these peers; returns how many entries were wrong. Raises NetworkError."""


class Repairs(Protocol):
    """The part of a network that compares it with the kernel's state."""

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` on the event loop when the kernel's state may have changed, also by ourselves, until `close`."""

    async def verify(self) -> Comparison:
        """Compare the kernel's state with the wanted one; nothing is changed. Raises NetworkError."""

    async def repair(self) -> Comparison:
        """`verify`, and repair all of it; returns the differences. Ends connections to host ports that could not be ended when
        they changed. Raises NetworkError."""


class RepairedNetwork(Network, Repairs, Protocol):
    pass
