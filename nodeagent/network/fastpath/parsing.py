"""The part that both programs have: from a packet to the key of its flow. Pure.

Registers: r6 is the packet's context (struct __sk_buff), r7 the configuration. Packets that are nothing for the fast path
leave by the label `next`, and take the slow path: IPv4 with options, fragments, IPv6 with extension headers, VLANs, other
protocols than TCP and UDP, and those whose time to live ends here. Headers are copied to the stack: a packet may be in pieces.

Source: linux/bpf.h (struct __sk_buff, numbers of helpers); RFC 791, 8200, 9293.
"""

from __future__ import annotations

from nodeagent.network.fastpath import layout
from nodeagent.network.fastpath.assembler import R0, R1, R2, R3, R4, R6, R7, R8, R9, R10, Assembler

# Fields of the context.
LENGTH, TYPE, MARK, ETHERTYPE, VLAN, PRIORITY, ARRIVED, DEVICE, SEGMENT = 0, 4, 8, 16, 20, 32, 36, 40, 176
# Helpers.
LOOKUP, UPDATE, DELETE, STORE, REDIRECT, _LOAD_BYTES, SET_TYPE, REDIRECT_PEER, TIME = 1, 2, 3, 9, 23, 26, 32, 155, 160
# TCX_NEXT: the packet continues, also to programs of others.
_CONTINUE = -1
# Places on the stack: a flow, which begins with its key; the IP header, with room for an Ethernet header before it; two bytes
# of TCP's header, with its length and its flags; and a number that is the key of an array.
FLOW, IP, _TCP, _NUMBER = -88, -144, -96, -168
# Values of 16 bits as a little-endian machine reads them: ETH_P_IP, ETH_P_IPV6, the offset of a fragment and its "more".
_IPV4, _IPV6, _FRAGMENT = 0x0008, 0xDD86, 0xFF3F
ETHERNET, _IPV4_HEADER, _IPV6_HEADER = 14, 20, 40
# Of TCP.
FIN_SYN_RST, _FLAGS, ACK = 0x07, 0x17, 0x10


def begin(code: Assembler, config: int) -> None:
    code.copy(R6, R1)
    number(code, config, 0, missing="next")
    code.copy(R7, R0)


def end(code: Assembler) -> bytes:
    code.label("next")
    code.set(R0, _CONTINUE)
    code.exit()
    return code.assemble()


def at(code: Assembler, register: int, place: int) -> None:
    """The address of a place on the stack."""
    code.copy(register, R10)
    code.compute(register, "+", place)


def lookup(code: Assembler, fd: int, place: int, *, missing: str) -> None:
    """r0: the value in the map by the key on the stack."""
    code.map(R1, fd)
    at(code, R2, place)
    code.call(LOOKUP)
    code.jump("==", R0, 0, to=missing)


def number(code: Assembler, fd: int, index: int, *, missing: str) -> None:
    """r0: an array's value."""
    code.store_number(R10, _NUMBER, index, size=4)
    lookup(code, fd, _NUMBER, missing=missing)


def count(code: Assembler, counters: int, index: int) -> None:
    number(code, counters, index, missing=f"counted {index}")
    code.load(R1, R0, 0, size=8)
    code.compute(R1, "+", 1)
    code.store(R0, 0, R1, size=8)
    code.label(f"counted {index}")


def read(code: Assembler, offset: int, place: int, size: int) -> None:
    """Bytes of the frame to the stack."""
    code.set(R2, offset)
    _read(code, place, size)


def _read(code: Assembler, place: int, size: int) -> None:
    code.copy(R1, R6)
    at(code, R3, place)
    code.set(R4, size)
    code.call(_LOAD_BYTES)
    code.jump("!=", R0, 0, to="next")


def parse(code: Assembler) -> None:
    """The key on the stack, but for its device; r8: the flags of TCP, or ACK of UDP; r9: bytes of the headers."""
    code.load(R1, R6, VLAN, size=4)
    code.jump("!=", R1, 0, to="next")
    for offset in range(0, layout.KEY.size, 8):
        code.store_number(R10, FLOW + offset, 0, size=8)
    code.load(R1, R6, ETHERTYPE, size=4)
    code.jump("==", R1, _IPV4, to="ipv4")
    code.jump("!=", R1, _IPV6, to="next")
    _ipv6(code)
    code.go("transport")
    code.label("ipv4")
    _ipv4(code)
    code.label("transport")
    code.store(R10, FLOW + layout.PROTOCOL, R8, size=1)
    code.store(R10, FLOW + layout.L4_PORTS, R1, size=4)
    _transport(code)


def _ipv6(code: Assembler) -> None:
    """r8: the protocol; r1: both ports; r9: bytes before the transport's header."""
    read(code, ETHERNET, IP, _IPV6_HEADER + 4)
    code.load(R1, R10, IP, size=1)
    code.compute(R1, "&", 0xF0)
    code.jump("!=", R1, 0x60, to="next")
    code.load(R1, R10, IP + 7, size=1)
    code.jump("<=", R1, 1, to="next")
    for offset in range(0, 32, 8):
        code.load(R1, R10, IP + 8 + offset, size=8)
        code.store(R10, FLOW + layout.SOURCE + offset, R1, size=8)
    code.store_number(R10, FLOW + layout.FAMILY, 6, size=1)
    code.load(R8, R10, IP + 6, size=1)
    code.load(R1, R10, IP + _IPV6_HEADER, size=4)
    code.set(R9, ETHERNET + _IPV6_HEADER)


def _ipv4(code: Assembler) -> None:
    """As `_ipv6`."""
    read(code, ETHERNET, IP, _IPV4_HEADER + 4)
    code.load(R1, R10, IP, size=1)
    code.jump("!=", R1, 0x45, to="next")
    code.load(R1, R10, IP + 6, size=2)
    code.jump("&", R1, _FRAGMENT, to="next")
    code.load(R1, R10, IP + 8, size=1)
    code.jump("<=", R1, 1, to="next")
    for offset, place in ((12, layout.SOURCE), (16, layout.TARGET)):
        code.load(R1, R10, IP + offset, size=4)
        code.store(R10, FLOW + place, R1, size=4)
    code.store_number(R10, FLOW + layout.FAMILY, 4, size=1)
    code.load(R8, R10, IP + 9, size=1)
    code.load(R1, R10, IP + _IPV4_HEADER, size=4)
    code.set(R9, ETHERNET + _IPV4_HEADER)


def _transport(code: Assembler) -> None:
    code.jump("==", R8, 17, to="udp")
    code.jump("!=", R8, 6, to="next")
    code.copy(R2, R9)
    code.compute(R2, "+", 12)
    _read(code, _TCP, 2)
    code.load(R1, R10, _TCP, size=1)
    code.compute(R1, "&", 0xF0)
    code.compute(R1, ">>", 2)
    code.combine(R9, "+", R1)
    code.load(R8, R10, _TCP + 1, size=1)
    code.compute(R8, "&", _FLAGS)
    code.go("parsed")
    code.label("udp")
    code.compute(R9, "+", 8)
    code.set(R8, ACK)
    code.label("parsed")
