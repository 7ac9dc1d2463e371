"""Packets of a capture: the filter as the kernel runs it, and the file."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from nodeagent.network import packets
from nodeagent.network.packets import Filter, Instruction
from tests.support.frames import ETH_8021AD, ETH_8021Q, tagged

A, B = "10.244.1.5", "10.244.2.7"
SIX, SEVEN = "fd00::6", "fd00::7"


def frame(source: str, target: str, ports: tuple[int, int] = (1000, 80), *, protocol: int = 6, offset: int = 0) -> bytes:
    ends = struct.pack("!HH", *ports)
    one, two = ipaddress.ip_address(source), ipaddress.ip_address(target)
    if one.version == 4:
        header = struct.pack("!BBHHHBBH", 0x46, 0, 28, 0, offset, 64, protocol, 0) + one.packed + two.packed + bytes(4)
        return bytes(12) + b"\x08\x00" + header + ends
    return bytes(12) + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, 4, protocol, 64) + one.packed + two.packed + ends


def run(code: list[Instruction], data: bytes) -> int:
    """Classic BPF, as far as the filter uses it; what lies outside of a packet takes none of it."""
    a = x = at = 0
    while True:
        kind, true, false, value = code[at]
        at += 1
        try:
            match kind:
                case 0x20:
                    a = struct.unpack_from("!I", data, value)[0]
                case 0x28:
                    a = struct.unpack_from("!H", data, value)[0]
                case 0x30:
                    a = data[value]
                case 0x48:
                    a = struct.unpack_from("!H", data, x + value)[0]
                case 0xB1:
                    x = (data[value] & 15) * 4
                case 0x15:
                    at += true if a == value else false
                case 0x45:
                    at += true if a & value else false
                case 0x06:
                    return value
        except (struct.error, IndexError):
            return 0


def taken(wanted: Filter, data: bytes) -> bool:
    return run(packets.program(wanted, 99), data) == 99


@pytest.mark.parametrize(("one", "two"), [(A, B), (SIX, SEVEN)])
def test_address_and_port_count_at_either_end(one: str, two: str) -> None:
    for protocol in (6, 17, 132):
        for ports in ((1000, 80), (80, 1000)):
            data = frame(one, two, ports, protocol=protocol)
            assert taken(Filter(), data)
            assert all(taken(Filter(host, port), data) for host in ("", one, two) for port in (0, 80, 1000))
            assert not taken(Filter(port=81), data)
            assert not taken(Filter("10.244.9.9"), data)
            assert not taken(Filter("fd00::9"), data)
            assert not taken(Filter(one, 81), data)


@pytest.mark.parametrize("tag", [ETH_8021Q, ETH_8021AD])
@pytest.mark.parametrize(("one", "two"), [(A, B), (SIX, SEVEN)])
def test_a_tag_of_the_frames_own_does_not_hide_a_packet(one: str, two: str, tag: int) -> None:
    """As a process in the pod sends it."""
    data = tagged(frame(one, two, (1000, 80)), tag, vlan=7)
    assert all(taken(Filter(host, port), data) for host in ("", one, two) for port in (0, 80, 1000))
    assert not taken(Filter(one, 81), data)
    assert not taken(Filter("10.244.9.9", 80), data)
    assert not taken(Filter(one), tagged(frame(one, two), tag, tag))


def auxdata(length: int, status: int, tag: int = 0, kind: int = 0) -> bytes:
    return struct.pack("=IIIHHHH", status, length, 0, 0, 0, tag, kind)


@pytest.mark.parametrize(
    ("snap", "status", "kind", "kept"),
    [
        (99, 0x51, ETH_8021AD, "aaaaaaaaaaaabbbbbbbbbbbb 88a8e007 0800 4500"), (99, 0x11, 0, "aaaaaaaaaaaabbbbbbbbbbbb 8100e007 0800 4500"),
        (99, 0x01, ETH_8021Q, "aaaaaaaaaaaabbbbbbbbbbbb 0800 4500"), (16, 0x51, ETH_8021Q, "aaaaaaaaaaaabbbbbbbbbbbb 8100e007"),
        (14, 0x51, ETH_8021Q, "aaaaaaaaaaaabbbbbbbbbbbb 8100"), (3, 0x51, ETH_8021Q, "aaaaaa"),
    ],
)  # fmt: skip
def test_a_tag_that_the_kernel_has_removed_is_put_back(snap: int, status: int, kind: int, kept: str) -> None:
    """With its priority, and within the bytes to keep; without a valid tag the frame is as it is."""
    whole = bytes.fromhex("aaaaaaaaaaaabbbbbbbbbbbb08004500")
    found = packets.restored(whole[:snap], auxdata(len(whole), status, 0xE007, kind), snap)
    assert found == (bytes.fromhex(kept), len(whole) + (4 if status & 0x10 else 0))


def test_only_protocols_with_ports_have_ports() -> None:
    assert not taken(Filter(port=80), frame(A, B, protocol=1))
    assert not taken(Filter(port=80), frame(SIX, SEVEN, protocol=58))
    assert taken(Filter(A), frame(A, B, protocol=1))
    assert not taken(Filter(port=80), bytes(12) + b"\x08\x06" + bytes(40))


def test_a_later_fragment_has_no_ports() -> None:
    assert not taken(Filter(port=80), frame(A, B, offset=5))
    assert taken(Filter(A), frame(A, B, offset=5))


def test_a_record_has_its_time_and_the_packets_whole_length() -> None:
    found = packets.record(1_500_000_002, b"abc", 70)
    assert struct.unpack("=IIII", found[:16]) == (1, 500_000_002, 3, 70)
    assert found[16:] == b"abc"
    assert struct.unpack("=IHHiIII", packets.header())[0] == 0xA1B23C4D
