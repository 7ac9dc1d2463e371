"""Packets made by hand, sent and received in network namespaces: what a pod or a host could send that means harm."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
ETH_IP, ETH_IPV6, ETH_ARP = 0x0800, 0x86DD, 0x0806
# Types of VLAN tags: 802.1Q, 802.1ad.
ETH_8021Q, ETH_8021AD = 0x8100, 0x88A8
# Where tests listen, in pods and on nodes.
PORT = 7777


def within(namespace: Path, work: Callable[[], T]) -> T:
    """Run `work` in a network namespace, on a thread of its own."""

    def enter() -> T:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(namespace) as file:
            assert libc.setns(file.fileno(), _CLONE_NEWNET) == 0, ctypes.get_errno()
        return work()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(enter).result(30)


@contextlib.contextmanager
def listening(namespace: Path, address: str) -> Iterator[Callable[[], list[bytes]]]:
    """A UDP socket in a namespace; what it yields returns the datagrams that have come."""
    with senders(namespace, address) as got:
        yield lambda: [data for data, _ in got()]


@contextlib.contextmanager
def senders(namespace: Path, address: str, *, answer: bytes = b"") -> Iterator[Callable[[], list[tuple[bytes, str]]]]:
    """`listening` that yields each datagram with its sender's address. `answer` is sent back, if there is one."""

    def bind() -> socket.socket:
        sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
        sock.bind((address, PORT))
        sock.settimeout(1)
        return sock

    with within(namespace, bind) as sock:

        def received() -> list[tuple[bytes, str]]:
            found = []
            with contextlib.suppress(TimeoutError):
                while True:
                    data, sender = sock.recvfrom(2048)
                    found.append((data, str(sender[0])))
                    if answer:
                        sock.sendto(answer, sender)
            return found

        yield received


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def mac(text: str) -> bytes:
    return bytes(int(part, 16) for part in text.split(":"))


def checksum(data: bytes) -> int:
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def ipv4_udp(source: str, target: str, payload: bytes, *, port: int = PORT) -> bytes:
    """An IPv4 packet with a UDP datagram from PORT to `port`."""
    udp = struct.pack("!4H", PORT, port, 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 7, 0, 64, socket.IPPROTO_UDP, 0) + addresses
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + udp


def send_late(namespace: Path, source: tuple[str, int], target: tuple[str, int], payload: bytes) -> None:
    """TCP segments with sequence numbers all around, so that some are beyond the window of whatever connection has these ends."""
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(target[0])

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as sock:
            sock.bind((source[0], 0))
            for number in range(0, 1 << 32, 1 << 30):
                tcp = struct.pack("!HHIIBBHHH", source[1], target[1], number, 0, 5 << 4, 0x10, 512, 0, 0) + payload
                sum_ = checksum(addresses + struct.pack("!HH", socket.IPPROTO_TCP, len(tcp)) + tcp)
                sock.sendto(tcp[:16] + struct.pack("!H", sum_) + tcp[18:], (target[0], 0))

    within(namespace, send)


def ipv6(source: str, target: str, payload: bytes, protocol: int, *, hops: int = 64) -> bytes:
    """An IPv6 packet; `payload` has the checksum of UDP or ICMPv6 at its place, zero."""
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    at = 6 if protocol == socket.IPPROTO_UDP else 2
    sum_ = checksum(addresses + struct.pack("!II", len(payload), protocol) + payload)
    payload = payload[:at] + struct.pack("!H", sum_) + payload[at + 2 :]
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops) + addresses + payload


def ipv6_udp(source: str, target: str, payload: bytes, *, port: int = PORT) -> bytes:
    """An IPv6 packet with a UDP datagram from PORT to `port`."""
    return ipv6(source, target, struct.pack("!4H", PORT, port, 8 + len(payload), 0) + payload, socket.IPPROTO_UDP)


def neighbour_advertisement(owner: str, own_mac: str, target: str = "ff02::1") -> bytes:
    """ICMPv6 type 136 that tells `target` that `owner` is at this MAC address, overriding what it knows (RFC 4861)."""
    option = struct.pack("!BB", 2, 1) + mac(own_mac)
    body = struct.pack("!BBHI", 136, 0, 0, 0x20 << 24) + socket.inet_pton(socket.AF_INET6, owner) + option
    return ipv6(owner, target, body, socket.IPPROTO_ICMPV6, hops=255)


def neighbour_solicitation(source: str, owner: str, own_mac: str) -> bytes:
    """ICMPv6 type 135 for `owner`, with the sender's MAC address (RFC 4861)."""
    option = struct.pack("!BB", 1, 1) + mac(own_mac)
    body = struct.pack("!BBHI", 135, 0, 0, 0) + socket.inet_pton(socket.AF_INET6, owner) + option
    return ipv6(source, "ff02::1", body, socket.IPPROTO_ICMPV6, hops=255)


def redirect(source: str, victim: str, destination: str, own_mac: str) -> bytes:
    """ICMPv6 type 137: `destination` is reached by way of the sender (RFC 4861)."""
    named = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, destination)
    body = struct.pack("!BBHI", 137, 0, 0, 0) + named + struct.pack("!BB", 2, 1) + mac(own_mac)
    return ipv6(source, victim, body, socket.IPPROTO_ICMPV6, hops=255)


def ethernet(source: str, target: str, packet: bytes, kind: int = ETH_IP) -> bytes:
    return mac(target) + mac(source) + struct.pack("!H", kind) + packet


def tagged(frame: bytes, *kinds: int, vlan: int = 0) -> bytes:
    """The frame with VLAN tags of these types, the outer one first; VLAN 0 is a priority alone (IEEE 802.1Q, 9.6)."""
    return frame[:12] + b"".join(struct.pack("!HH", kind, vlan) for kind in kinds) + frame[12:]


def snap(frame: bytes) -> bytes:
    """The frame as one of IEEE 802.3, with a length and headers of LLC and SNAP (RFC 1042)."""
    body = bytes.fromhex("aaaa03000000") + frame[12:]
    return frame[:12] + struct.pack("!H", len(body)) + body


def arp_reply(owner: str, own_mac: str, target: str, target_mac: str) -> bytes:
    """ARP that tells `target` that `owner` is at this MAC address (RFC 826)."""
    sender, to = mac(own_mac) + socket.inet_aton(owner), mac(target_mac) + socket.inet_aton(target)
    return struct.pack("!HHBBH", 1, ETH_IP, 6, 4, 2) + sender + to


def vxlan(vni: int, frame: bytes) -> bytes:
    """RFC 7348: flags, reserved, VNI, reserved."""
    return struct.pack("!II", 0x08 << 24, vni << 8) + frame


def send_udp(namespace: Path, target: tuple[str, int], payload: bytes, source: str = "") -> None:
    """As any process can, without privileges. `source` is an address of the namespace; empty: the kernel's choice."""

    def send() -> None:
        with socket.socket(family_of(target[0]), socket.SOCK_DGRAM) as sock, contextlib.suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            if source:
                sock.bind((source, 0))
            # PermissionError: the node's own filter drops it.
            for _ in range(3):
                sock.sendto(payload, target)

    within(namespace, send)


def send_frame(namespace: Path, device: str, frame: bytes) -> None:
    """As a container with NET_RAW can."""

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind((device, 0))
            for _ in range(3):
                sock.send(frame)

    within(namespace, send)


def router_advertisement(source: str, target: str = "33:33:00:00:00:01") -> bytes:
    """ICMPv6 type 134 with a default route and an autonomous prefix, to all nodes (RFC 4861)."""
    link_local, all_nodes = socket.inet_pton(socket.AF_INET6, "fe80::bad"), socket.inet_pton(socket.AF_INET6, "ff02::1")
    prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + socket.inet_pton(socket.AF_INET6, "2001:db8:bad::")
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix
    pseudo = link_local + all_nodes + struct.pack("!II", len(body), socket.IPPROTO_ICMPV6)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), socket.IPPROTO_ICMPV6, 255) + link_local + all_nodes
    return ethernet(source, target, header + body, ETH_IPV6)


@contextlib.contextmanager
def captured(namespace: Path, device: str) -> Iterator[Callable[[], list[bytes]]]:
    """Every frame that a device receives or sends meanwhile."""

    def bind() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        sock.bind((device, 3))
        sock.settimeout(1)
        return sock

    with within(namespace, bind) as sock:

        def received() -> list[bytes]:
            found = []
            with contextlib.suppress(TimeoutError):
                # A busy device ends it too.
                for _ in range(10_000):
                    found.append(sock.recv(4096))
            return found

        yield received
