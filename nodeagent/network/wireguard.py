"""WireGuard between nodes (`--encrypt`): the overlay's underlay is an encrypted one.

    pod - bridge - VXLAN device - WireGuard device - underlay

Each node has a WireGuard device with one address, the *tunnel address*, which follows from the node's public key. The VXLAN
device sends from it to the tunnel addresses of peers, so that the overlay's three entries are what they are without encryption
(`vxlan`), and WireGuard has one peer for each:

    peer PUBLIC-KEY   endpoint 192.0.2.3:51820   allowed ips fd70:6e63:.../128
    route fd70:6e63:.../128 dev pinnace-wg

A packet that arrives with a tunnel address as its source was encrypted by the owner of that key, or the kernel drops it. Nodes
announce their public keys through the control plane; the private key never leaves the node.

MTU: WireGuard adds 60 bytes over IPv4 (IPv4 20, UDP 8, header and tag 32) and 80 over IPv6.
Source: linux/wireguard.h, wireguard.com/protocol.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from nodeagent.network import nlsocket
from nodeagent.network.nlsocket import Message, NetlinkSocket, Request, attribute, nested
from pinnace.ipfamilies import Family

DEVICE, KIND = "pinnace-wg", "wireguard"
PORT = 51820
OVERHEAD: dict[Family, int] = {4: 60, 6: 80}
# Of tunnel addresses (RFC 4193), which leave no node.
PREFIX = ipaddress.IPv6Network("fd70:6e63::/32")
_KEY_BYTES = 32
# The socket's protocol, and the family that finds the others (linux/genetlink.h).
GENERIC, _CONTROL, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 0x10, 3, 1, 2
_HEADER = struct.Struct("=BBH")
_GET_DEVICE, _SET_DEVICE, _VERSION = 0, 1, 1
_NAME, _PRIVATE_KEY, _PUBLIC_KEY, _FLAGS, _LISTEN_PORT, _MARK, _PEERS = 2, 3, 4, 5, 6, 7, 8
_PEER_KEY, _PEER_FLAGS, _PEER_ENDPOINT, _PEER_ALLOWED = 1, 3, 4, 9
_REMOVE, _REPLACE_ALLOWED = 1, 2
_ALLOWED_FAMILY, _ALLOWED_ADDRESS, _ALLOWED_LENGTH = 1, 2, 3
# Peers of one message, which stays below 64 KiB.
_TOGETHER = 200


@dataclass(frozen=True, slots=True, order=True)
class TunnelPeer:
    """`key` as wg(8) writes it; `endpoint` is an underlay address. Its one allowed IP is the key's tunnel address."""

    key: str
    endpoint: str

    @property
    def address(self) -> str:
        return tunnel_address(self.key)


def is_key(text: str) -> bool:
    """Whether a text is a public key that a node can have."""
    try:
        found = base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return len(found) == _KEY_BYTES and any(found) and base64.b64encode(found).decode() == text


def tunnel_address(key: str) -> str:
    """The address of the node with this public key: 96 bits of its hash, so that no other key can be made to have it."""
    digest = hashlib.sha256(b"pinnace tunnel " + base64.b64decode(key)).digest()
    return str(PREFIX[int.from_bytes(digest[:12], "big")])


# Requests, and what the kernel answers


def find_family() -> Request:
    return Request(_CONTROL, _HEADER.pack(_GET_FAMILY, 1, 0) + nlsocket.text(_FAMILY_NAME, KIND))


def family_of(messages: Iterable[Message]) -> int:
    """The number of the family, 0 for none."""
    for message in messages:
        found = nlsocket.attributes(message.body[_HEADER.size :])
        return int.from_bytes(found.get(_FAMILY_ID, b"")[:2], "little" if struct.pack("=H", 1)[0] else "big")
    return 0


def set_key(family: int, private_key: bytes) -> Request:
    body = nlsocket.text(_NAME, DEVICE) + attribute(_PRIVATE_KEY, private_key)
    return _set(family, body + attribute(_LISTEN_PORT, struct.pack("=H", PORT)))


def forget_sources(family: int) -> Request:
    """Have the kernel choose the source address of each peer's packets anew: it may have cached one that the node has lost. It
    does so when the mark of the packets is set, also to the same (none)."""
    return _set(family, nlsocket.text(_NAME, DEVICE) + nlsocket.number(_MARK, 0))


def set_peers(family: int, add: Iterable[TunnelPeer], remove: Iterable[TunnelPeer] = ()) -> Iterator[Request]:
    """Removals last; a peer of `add` replaces that with its key."""
    added = list(add)
    kept = {peer.key for peer in added}
    parts = [_peer(peer) for peer in added]
    parts += [nested(0, _key(peer), nlsocket.number(_PEER_FLAGS, _REMOVE)) for peer in remove if peer.key not in kept]
    for start in range(0, len(parts), _TOGETHER):
        yield _set(family, nlsocket.text(_NAME, DEVICE) + nested(_PEERS, *parts[start : start + _TOGETHER]))


def _set(family: int, body: bytes) -> Request:
    return Request(family, _HEADER.pack(_SET_DEVICE, _VERSION, 0) + body)


def _key(peer: TunnelPeer) -> bytes:
    return attribute(_PEER_KEY, base64.b64decode(peer.key))


def _peer(peer: TunnelPeer) -> bytes:
    allowed = nested(
        0, attribute(_ALLOWED_FAMILY, struct.pack("=H", socket.AF_INET6)),
        attribute(_ALLOWED_ADDRESS, nlsocket.ip_bytes(peer.address)), attribute(_ALLOWED_LENGTH, b"\x80"),
    )  # fmt: skip
    flags = nlsocket.number(_PEER_FLAGS, _REPLACE_ALLOWED)
    return nested(0, _key(peer), flags, attribute(_PEER_ENDPOINT, _endpoint(peer.endpoint)), nested(_PEER_ALLOWED, allowed))


def _endpoint(address: str) -> bytes:
    """struct sockaddr_in or sockaddr_in6."""
    family, packed = nlsocket.ip_family(address), nlsocket.ip_bytes(address)
    head = struct.pack("=H", family) + struct.pack("!H", PORT)
    return head + packed + bytes(8) if family == socket.AF_INET else head + bytes(4) + packed + bytes(4)


def get_device(family: int) -> Request:
    """To be dumped."""
    return Request(family, _HEADER.pack(_GET_DEVICE, _VERSION, 0) + nlsocket.text(_NAME, DEVICE))


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The device as it is; its public key is empty while it has none."""

    public_key: str
    port: int
    peers: frozenset[TunnelPeer]


def read(messages: Iterable[Message]) -> Tunnel:
    """A peer of which another endpoint or other allowed IPs are known is not among the peers: it is to be written again."""
    public, port, found, wrong = b"", 0, dict[str, TunnelPeer](), set[str]()
    for message in messages:
        entry = nlsocket.attributes(message.body[_HEADER.size :])
        public = entry.get(_PUBLIC_KEY, public)
        port = int(struct.unpack("=H", entry.get(_LISTEN_PORT, struct.pack("=H", port))[:2])[0])
        for _, data in nlsocket.entries(entry.get(_PEERS, b"")):
            peer = nlsocket.attributes(data)
            key = base64.b64encode(peer.get(_PEER_KEY, b"")).decode()
            found[key] = TunnelPeer(key, _address_of(peer.get(_PEER_ENDPOINT, b"")))
            if not _is_allowed(key, peer):
                wrong.add(key)
    peers = frozenset(peer if key not in wrong else TunnelPeer(key, "") for key, peer in found.items())
    return Tunnel(base64.b64encode(public).decode() if any(public) else "", port, peers)


def _is_allowed(key: str, peer: Mapping[int, bytes]) -> bool:
    listed = [nlsocket.attributes(data) for _, data in nlsocket.entries(peer.get(_PEER_ALLOWED, b""))]
    wanted = (nlsocket.ip_bytes(tunnel_address(key)), b"\x80")
    return [(item.get(_ALLOWED_ADDRESS), item.get(_ALLOWED_LENGTH)) for item in listed] == [wanted] if is_key(key) else False


def _address_of(endpoint: bytes) -> str:
    """Empty for another port, or none."""
    if len(endpoint) < 16 or endpoint[2:4] != struct.pack("!H", PORT):
        return ""
    return nlsocket.ip_text(endpoint[4:8] if len(endpoint) == 16 else endpoint[8:24])


def find(kernel: NetlinkSocket) -> int:
    """The number of the generic netlink family, 0 where the kernel has no WireGuard. Raises OSError."""
    try:
        return family_of(kernel.run(find_family()))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return 0
