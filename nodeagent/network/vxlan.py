"""The overlay: how a packet of a pod gets to a pod on another host.

Every node has a VXLAN device and a pod range (10.244.3.0/24, say). The range's first address, 10.244.3.0, is the
address of the device itself, the *VTEP*. For each peer a node programs three entries, and nothing else:

    route       10.244.3.0/24 via 10.244.3.0 dev pinnace-vx onlink     which device, which next hop
    neighbour   10.244.3.0 lladdr 0a:1b:2c:3d:4e:5f                    the next hop's MAC address, instead of ARP
    fdb         0a:1b:2c:3d:4e:5f dst 192.0.2.3                        which host has that MAC, instead of flooding

So the packet is routed to the next hop, framed to its MAC address, wrapped in UDP to the host that has it, unwrapped
there, and routed by that host to its bridge and the pod. Since every entry is known beforehand, the device needs no
learning, no multicast and no ARP: a peer costs three entries, whatever the number of its pods, and nothing is ever
flooded. What the cluster's range does not assign is blackholed, so that no pod packet leaves by the default route.

The underlay is of one address family, IPv4 or IPv6. Where pods have addresses of both families, a peer costs a route and a
neighbour for each, and the fdb entry that both use.

MTU: VXLAN adds 50 bytes over IPv4 (inner Ethernet 14, outer IPv4 20, UDP 8, VXLAN 8) and 70 over IPv6, so pods get the
underlay's less that.
Source: RFC 7348; flannel's vxlan backend for the three-entry scheme.
"""

from __future__ import annotations

import hashlib
import socket
import struct

from nodeagent.network import nlsocket
from nodeagent.network.interface import Node
from nodeagent.network.links import Link
from nodeagent.network.nlsocket import attribute
from pinnace.ipfamilies import Family

DEVICE = "pinnace-vx"
OVERHEAD: dict[Family, int] = {4: 50, 6: 70}
# linux/if_link.h, IFLA_VXLAN_*.
_ID, _LINK, _LEARNING, _PORT = 1, 3, 7, 15
_LOCALS = {socket.AF_INET: 4, socket.AF_INET6: 17}


def mac_of(node: str) -> str:
    """A node's VTEP address: stable, so that a restarted agent changes nothing at its peers.

    The second bit of the first byte says "locally administered", a cleared first bit "unicast"."""
    digest = bytearray(hashlib.sha256(f"pinnace vtep {node}".encode()).digest()[:6])
    digest[0] = (digest[0] | 0x02) & 0xFE
    return ":".join(f"{byte:02x}" for byte in digest)


def vtep_of(pod_cidr: str) -> str:
    """The address of the VXLAN device of the node that has `pod_cidr`: the range's first."""
    return pod_cidr.partition("/")[0]


def _local(address: str) -> bytes:
    return attribute(_LOCALS[nlsocket.ip_family(address)], nlsocket.ip_bytes(address))


def device(node: Node, link: int) -> bytes:
    """Attributes of the device's kind; `link` is the index of the underlay's device."""
    return b"".join((
        nlsocket.number(_ID, node.vni), nlsocket.number(_LINK, link), _local(node.address),
        attribute(_LEARNING, b"\0"), attribute(_PORT, struct.pack("!H", node.port)),
    ))  # fmt: skip


def identity(link: Link) -> tuple[int, int]:
    """VNI and port of a VXLAN device, of which a host has one."""
    return nlsocket.unsigned(link.data.get(_ID)), int.from_bytes(link.data.get(_PORT, b""), "big")


def is_device(link: Link, node: Node, underlay: int) -> bool:
    """Whether a link is what `device` makes on the device with the index `underlay`."""
    return (
        identity(link) == (node.vni, node.port)
        and link.data.get(_LOCALS[nlsocket.ip_family(node.address)]) == nlsocket.ip_bytes(node.address)
        and nlsocket.unsigned(link.data.get(_LINK)) == underlay
        and link.mac == node.mac
    )
