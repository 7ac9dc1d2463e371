"""Neighbour advertisements on the underlay: announcing an IPv6 address, and hearing that another host announces it.

Source: RFC 4861, sections 4.4 (the message), 7.2.6 (unsolicited ones) and 7.1.2 (which ones count).
"""

from __future__ import annotations

import socket
import struct
import sys

from nodeagent.network import nlsocket

_ETHERTYPE = 0x86DD
_ALL_NODES, _ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"
_ADVERTISEMENT, _OVERRIDE, _TARGET_MAC = 136, 0x20 << 24, 2
# Of a packet that no router has forwarded.
_HOPS = 255
_HEADER, _IP = struct.Struct("!6s6sH"), struct.Struct("!IHBB16s16s")
_MESSAGE, _OPTION = struct.Struct("!BBHI16s"), struct.Struct("!BB6s")
# netinet/icmp6.h: bits of types that are not received. linux/in6.h.
_FILTER, _HOP_LIMIT = 1, 52
# Messages that are read at once.
_BATCH = 64


def announcements(address: str, mac: str) -> list[bytes]:
    """Frames that tell every host of the link who has an address now."""
    source, target = nlsocket.ip_bytes(address), nlsocket.ip_bytes(_ALL_NODES)
    option = _OPTION.pack(_TARGET_MAC, 1, nlsocket.mac_bytes(mac))
    body = _MESSAGE.pack(_ADVERTISEMENT, 0, 0, _OVERRIDE, source) + option
    pseudo = source + target + struct.pack("!II", len(body), socket.IPPROTO_ICMPV6)
    body = body[:2] + struct.pack("!H", _checksum(pseudo + body)) + body[4:]
    packet = _IP.pack(6 << 28, len(body), socket.IPPROTO_ICMPV6, _HOPS, source, target) + body
    return [_HEADER.pack(nlsocket.mac_bytes(_ALL_NODES_MAC), nlsocket.mac_bytes(mac), _ETHERTYPE) + packet]


def _checksum(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return int(~(total + (total >> 16)) & 0xFFFF)


def announced(message: bytes) -> tuple[str, str] | None:
    """Address and MAC of an advertisement, from its ICMPv6 message; None for any other."""
    if len(message) < _MESSAGE.size:
        return None
    kind, code, _, _, target = _MESSAGE.unpack_from(message)
    if (kind, code) != (_ADVERTISEMENT, 0):
        return None
    start = _MESSAGE.size
    while start + _OPTION.size <= len(message):
        option, length, mac = _OPTION.unpack_from(message, start)
        if option == _TARGET_MAC:
            return nlsocket.ip_text(target), nlsocket.mac_text(mac)
        # A length of 0 would never end.
        start += max(length, 1) * 8
    return None


class NdpSocket:
    """Advertisements on one device. Raises OSError."""

    def __init__(self, device: str, mac: str) -> None:
        self._mac = mac
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_INET6, kind, socket.IPPROTO_ICMPV6)
        try:
            blocked = bytearray(b"\xff" * 32)
            blocked[_ADVERTISEMENT // 8] &= ~(1 << _ADVERTISEMENT % 8)
            self._socket.setsockopt(socket.IPPROTO_ICMPV6, _FILTER, bytes(blocked))
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            # For sending alone: in the name of an address, whatever the kernel thinks of it.
            self._frames = socket.socket(socket.AF_PACKET, kind, 0)
            self._frames.bind((device, 0))
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def announce(self, address: str) -> None:
        for frame in announcements(address, self._mac):
            self._frames.send(frame)

    def heard(self) -> set[str]:
        """Addresses that other hosts have announced since."""
        found: set[str] = set()
        for _ in range(_BATCH):
            try:
                message, extra, _, _ = self._socket.recvmsg(256, 256)
            except BlockingIOError:
                break
            hops = [int.from_bytes(data[:4], sys.byteorder) for _, kind, data in extra if kind == _HOP_LIMIT]
            item = announced(message) if _HOPS in hops else None
            if item is not None and item[1] != self._mac:
                found.add(item[0])
        return found

    def close(self) -> None:
        self._socket.close()
        self._frames.close()
