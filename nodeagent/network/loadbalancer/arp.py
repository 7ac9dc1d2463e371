"""ARP packets on the underlay: announcing an address, and hearing that another host announces it.

Source: RFC 826; RFC 5227, sections 2.3 (announcements) and 2.4 (conflicts).
"""

from __future__ import annotations

import ipaddress
import socket
import struct

from nodeagent.network import nlsocket

_ETHERTYPE = 0x0806
_BROADCAST = b"\xff" * 6
# Hardware type Ethernet, protocol type IPv4, their lengths, operation; then sender and target, MAC and IP.
_PACKET = struct.Struct("!HHBBH6s4s6s4s")
_HEADER = struct.Struct("!6s6sH")
_REQUEST, _REPLY = 1, 2
# Packets that are read at once.
_BATCH = 64


def announcements(address: str, mac: str) -> list[bytes]:
    """Frames that tell every host of the link who has an address now: some take requests, others replies."""
    own, packed = nlsocket.mac_bytes(mac), ipaddress.IPv4Address(address).packed
    head = _HEADER.pack(_BROADCAST, own, _ETHERTYPE)
    return [
        head + _PACKET.pack(1, 0x0800, 6, 4, operation, own, packed, target, packed)
        for operation, target in ((_REQUEST, bytes(6)), (_REPLY, _BROADCAST))
    ]


def announced(frame: bytes) -> tuple[str, str] | None:
    """Address and MAC of an announcement; None for any other frame."""
    if len(frame) < _HEADER.size + _PACKET.size:
        return None
    hardware, protocol, *_, sender, source, _, target = _PACKET.unpack_from(frame, _HEADER.size)
    if (hardware, protocol) != (1, 0x0800) or source != target:
        return None
    return str(ipaddress.IPv4Address(source)), nlsocket.mac_text(sender)


class ArpSocket:
    """ARP on one device. Raises OSError."""

    def __init__(self, device: str, mac: str) -> None:
        self.device, self.mac = device, mac
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(_ETHERTYPE))
        self._socket.bind((device, _ETHERTYPE))

    def fileno(self) -> int:
        return self._socket.fileno()

    def announce(self, address: str) -> None:
        for frame in announcements(address, self.mac):
            self._socket.send(frame)

    def heard(self) -> set[str]:
        """Addresses that other hosts have announced since."""
        found: set[str] = set()
        for _ in range(_BATCH):
            try:
                frame, (_, _, kind, *_) = self._socket.recvfrom(256)
            except BlockingIOError:
                break
            message = announced(frame) if kind != socket.PACKET_OUTGOING else None
            if message is not None and message[1] != self.mac:
                found.add(message[0])
        return found

    def close(self) -> None:
        self._socket.close()
