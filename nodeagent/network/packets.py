"""Packets of a pod's device, captured: the socket, the filter, and the pcap file that they become.

The filter is a program of classic BPF for IPv4 and IPv6, with or without a VLAN tag, so packets that are not wanted cost no
copy. The kernel removes the tag of a frame that arrives and reports it separately (`PACKET_AUXDATA`); the file has it in its
place. Source: pcap-savefile(5); linux/filter.h, if_packet.h; packet(7).
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nodeagent.linux import namespaces

DEVICE = "eth0"
_ETH_ALL, _IPV4, _IPV6 = 0x0003, 0x0800, 0x86DD
# Types of VLAN tags, 802.1Q and 802.1ad; bytes of a tag, and of a frame before it.
_TAGS, _TAG, _BEFORE_TAG = (0x8100, 0x88A8), 4, 12
# Struct tpacket_auxdata, and bits of its status: there is a tag, and its type is given.
_AUXDATA = struct.Struct("=IIIHHHH")
_VLAN_VALID, _VLAN_TPID_VALID = 1 << 4, 1 << 6
_SO_ATTACH_FILTER, _SO_TIMESTAMPNS = 26, 35
_PACKET_STATISTICS, _PACKET_AUXDATA, _SOL_PACKET = 6, 8, 263
# Bytes of one packet, also after segmentation has been left to the device.
MAX_SNAP = 1 << 18
# Bytes that wait in the kernel.
_BUFFER = 4 << 20
_ETHERNET = 14

# linux/bpf_common.h: load a word, half word or byte at an offset; with the index; the IPv4 header's length into the index.
_LD_W, _LD_H, _LD_B, _LD_H_IND, _LDX_MSH = 0x20, 0x28, 0x30, 0x48, 0xB1
_JEQ, _JSET, _RET = 0x15, 0x45, 0x06
Instruction = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Filter:
    """Packets with this address and this port at either end; empty and 0: any."""

    host: str = ""
    port: int = 0


def header() -> bytes:
    """Of a file with Ethernet frames and nanoseconds."""
    return struct.pack("=IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, MAX_SNAP, 1)


def record(nanoseconds: int, frame: bytes, length: int) -> bytes:
    """`length` is the packet's own; `frame` may have less of it."""
    return struct.pack("=IIII", *divmod(nanoseconds, 1_000_000_000), len(frame), length) + frame


def restored(frame: bytes, auxdata: bytes, snap: int) -> tuple[bytes, int]:
    """At most `snap` bytes of the frame with the tag that the kernel has removed, and the length of the whole packet. Pure."""
    status, length, _, _, _, tag, kind = _AUXDATA.unpack_from(auxdata)
    if not status & _VLAN_VALID:
        return frame, length
    inserted = struct.pack("!HH", kind if status & _VLAN_TPID_VALID else _TAGS[0], tag)
    return (frame[:_BEFORE_TAG] + inserted + frame[_BEFORE_TAG:])[:snap], length + _TAG


def program(wanted: Filter, snap: int) -> list[Instruction]:
    """Pure. Blocks in a row, each of which ends with a packet taken, or continues with the next; the last takes none."""
    families = [ipaddress.ip_address(wanted.host).version] if wanted.host else [4, 6]
    if not wanted.host and not wanted.port:
        return [(_RET, 0, 0, snap)]
    blocks = [block for family in families for block in _blocks(family, wanted, snap)]
    return [item for block in blocks for item in block] + [(_RET, 0, 0, 0)]


def _blocks(family: int, wanted: Filter, snap: int) -> Iterator[list[Instruction]]:
    """One for each combination of the tag, and of the ends that the address and the port may be at."""
    for tag in (0, *_TAGS):
        for address_at in (0, 1) if wanted.host else (0,):
            for port_at in (0, 1) if wanted.port else (0,):
                yield _block(family, wanted, snap, (address_at, port_at), tag)


def _block(family: int, wanted: Filter, snap: int, ends: tuple[int, int], tag: int) -> list[Instruction]:
    header = _ETHERNET + (_TAG if tag else 0)
    # A test is a load and a comparison; None jumps behind the block when it fails.
    tests: list[tuple[list[Instruction], int]] = [([(_LD_H, 0, 0, _BEFORE_TAG)], tag)] if tag else []
    tests.append(([(_LD_H, 0, 0, header - 2)], _IPV4 if family == 4 else _IPV6))
    if wanted.host:
        packed = ipaddress.ip_address(wanted.host).packed
        start = header + (12 if family == 4 else 8) + ends[0] * len(packed)
        words = struct.unpack(f"!{len(packed) // 4}I", packed)
        tests += [([(_LD_W, 0, 0, start + 4 * number)], word) for number, word in enumerate(words)]
    code: list[Instruction] = []
    jumps: list[int] = []
    for loads, value in tests:
        code += [*loads, (_JEQ, 0, 0, value)]
        jumps.append(len(code) - 1)
    if wanted.port:
        code += _ports(family, header, wanted.port, ends[1], jumps, len(code))
    code.append((_RET, 0, 0, snap))
    end = len(code)
    for at in jumps:
        kind, true, _, value = code[at]
        # JSET is a fragment, which has no ports: its jump is the other way round.
        code[at] = (kind, end - at - 1, 0, value) if kind == _JSET else (kind, true, end - at - 1, value)
    return code


def _ports(family: int, header: int, port: int, end: int, jumps: list[int], start: int) -> list[Instruction]:
    """TCP, UDP and SCTP, which have their ports at the same place; of IPv6 without extension headers. `header`: of IP."""
    protocol = header + (9 if family == 4 else 6)
    code: list[Instruction] = [
        (_LD_B, 0, 0, protocol), (_JEQ, 2, 0, socket.IPPROTO_TCP), (_JEQ, 1, 0, socket.IPPROTO_UDP),
        (_JEQ, 0, 0, socket.IPPROTO_SCTP),
    ]  # fmt: skip
    jumps.append(start + 3)
    if family == 4:
        code += [(_LD_H, 0, 0, header + 6), (_JSET, 0, 0, 0x1FFF), (_LDX_MSH, 0, 0, header)]
        jumps.append(start + 5)
        code += [(_LD_H_IND, 0, 0, header + 2 * end), (_JEQ, 0, 0, port)]
    else:
        code += [(_LD_H, 0, 0, header + 40 + 2 * end), (_JEQ, 0, 0, port)]
    jumps.append(start + len(code) - 1)
    return code


class Capture:
    """A socket on a pod's device. Raises OSError. `down`: the device was down or gone at the last `read`."""

    def __init__(self, netns: Path, wanted: Filter, snap: int) -> None:
        self.down = False
        with namespaces.visiting(netns):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            self._snap = snap
            _attach(self._socket, program(wanted, snap))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            # Last: from here on it gets packets.
            self._socket.bind((DEVICE, _ETH_ALL))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, 200_000))
        except BaseException:
            self._socket.close()
            raise

    def read(self, *, wait: bool) -> bytes | None:
        """The next packet as a record of the file; None when there is none, with `wait` for a moment. Raises OSError."""
        try:
            frame, ancillary, _, _ = self._socket.recvmsg(self._snap, 256, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            # Said once. Packets come again by themselves if it was down, and after `reopen` if it is another.
            if error.errno != errno.ENETDOWN:
                raise
            self.down = True
            return None
        when, length = 0, len(frame)
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, nanoseconds = struct.unpack("@qq", data[:16])
                when = seconds * 1_000_000_000 + nanoseconds
            elif (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
                frame, length = restored(frame, data, self._snap)
        return record(when, frame, length)

    def reopen(self) -> None:
        """Go on with the device that the pod has now, if it has one. Raises OSError."""
        try:
            # On a device that is down, the next `read` says so again.
            self._socket.bind((DEVICE, _ETH_ALL))
            self.down = False
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def dropped(self) -> int:
        """Packets for which there was no room."""
        return int(struct.unpack("@II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1])

    def close(self) -> None:
        self._socket.close()


def _attach(sock: socket.socket, code: list[Instruction]) -> None:
    data = b"".join(struct.pack("=HBBI", *item) for item in code)
    buffer = ctypes.create_string_buffer(data)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(code), ctypes.addressof(buffer)))
