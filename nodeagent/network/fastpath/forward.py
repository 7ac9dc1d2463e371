"""The program that forwards packets of learnt flows: at the ingress of the VXLAN device and of each pod's port.

    a flow by its key (arrived at, protocol, ports, addresses)?   no: the slow path
    learnt in this generation, and within MAX_AGE?                no: the slow path
    Ethernet header := the flow's; time to live - 1
    to the VXLAN device's egress, or into the pod

The first packet of a connection and its last ones take the slow path, so that connection tracking sees them. Pure.
"""

from __future__ import annotations

from nodeagent.network.fastpath import layout, parsing
from nodeagent.network.fastpath.assembler import R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10, Assembler
from nodeagent.network.fastpath.parsing import FLOW, IP

# Types of packets by the Ethernet header (linux/if_packet.h): to this device, to another one. Others are not forwarded.
_HOST, _OTHER_HOST = 0, 3
# Nanoseconds shifted right by this are about milliseconds.
_SHIFT = 20
# The checksum of the whole packet, where the device has computed it, is kept right.
_RECOMPUTE = 1


def program(*, config: int, flows: int, counters: int) -> bytes:
    """The maps' file descriptors."""
    code = Assembler()
    parsing.begin(code, config)
    _addressed(code)
    parsing.parse(code)
    code.load(R1, R6, parsing.DEVICE, size=4)
    code.store(R10, FLOW + layout.DEVICE, R1, size=4)
    code.jump("&", R8, parsing.FIN_SYN_RST, to="ends")
    _fits(code)
    _find(code, flows)
    _take(code)
    _same_key(code)
    _write(code)
    parsing.count(code, counters, layout.FORWARDED)
    _send(code)
    code.label("ends")
    code.map(R1, flows)
    parsing.at(code, R2, FLOW)
    code.call(parsing.DELETE)
    code.go("next")
    code.label("passed")
    parsing.count(code, counters, layout.PASSED)
    return parsing.end(code)


def _addressed(code: Assembler) -> None:
    """What a pod sends is for the bridge, of which its port is not the device."""
    code.load(R1, R6, parsing.TYPE, size=4)
    code.jump("==", R1, _HOST, to="addressed")
    code.jump("!=", R1, _OTHER_HOST, to="next")
    code.load(R1, R6, parsing.DEVICE, size=4)
    code.load(R2, R7, layout.CONFIG_VXLAN, size=4)
    code.compare("==", R1, R2, to="next")
    code.label("addressed")


def _fits(code: Assembler) -> None:
    """A longer packet than the next device takes has the slow path's answer. Segments to be are measured each."""
    code.load(R1, R6, parsing.SEGMENT, size=4)
    code.jump("!=", R1, 0, to="segments")
    code.load(R9, R6, parsing.LENGTH, size=4)
    code.label("segments")
    code.combine(R9, "+", R1)
    code.load(R1, R7, layout.CONFIG_LIMIT, size=4)
    code.compare(">", R9, R1, to="next")


def _find(code: Assembler, flows: int) -> None:
    """r8: the flow."""
    parsing.lookup(code, flows, FLOW, missing="passed")
    code.copy(R8, R0)
    code.load(R1, R8, layout.GENERATION, size=4)
    code.load(R2, R7, layout.CONFIG_GENERATION, size=4)
    code.compare("!=", R1, R2, to="passed")
    code.call(parsing.TIME)
    code.load(R1, R8, layout.LEARNT, size=8)
    code.combine(R0, "-", R1)
    code.compute(R0, ">>", _SHIFT)
    code.jump(">", R0, layout.MAX_AGE * 1_000_000_000 >> _SHIFT, to="passed")


def _take(code: Assembler) -> None:
    """The Ethernet header before the IP header on the stack; r9: the device. The slow path sets the priority anew."""
    for offset, size in ((0, 2), (2, 4), (6, 8)):
        code.load(R1, R8, layout.ETHERNET + offset, size=size)
        code.store(R10, IP - parsing.ETHERNET + offset, R1, size=size)
    code.load(R9, R8, layout.OUT, size=4)
    code.load(R1, R8, layout.PRIORITY, size=4)
    code.store(R6, parsing.PRIORITY, R1, size=4)


def _same_key(code: Assembler) -> None:
    """After the flow was read: the kernel may have given its memory to another flow meanwhile, whose key it then has."""
    for offset in range(0, layout.KEY.size, 8):
        code.load(R1, R8, offset, size=8)
        code.load(R2, R10, FLOW + offset, size=8)
        code.compare("!=", R1, R2, to="next")


def _write(code: Assembler) -> None:
    """The new Ethernet header, and one hop less."""
    code.load(R1, R10, FLOW + layout.FAMILY, size=1)
    code.jump("==", R1, 6, to="hops of ipv6")
    code.load(R1, R10, IP + 8, size=1)
    code.compute(R1, "-", 1)
    code.store(R10, IP + 8, R1, size=1)
    # RFC 1624: the checksum is larger by what the header is smaller, in ones' complement. Both are of its high byte.
    code.load(R1, R10, IP + 10, size=2)
    code.compute(R1, "+", 1)
    code.jump("<", R1, 0xFFFF, to="checksum")
    code.compute(R1, "+", 1)
    code.label("checksum")
    code.store(R10, IP + 10, R1, size=2)
    # Up to the checksum; of the whole packet none changes, for the two differences cancel out.
    _store(code, 0, IP - parsing.ETHERNET, parsing.ETHERNET + 12)
    code.go("written")
    code.label("hops of ipv6")
    code.load(R1, R10, IP + 7, size=1)
    code.compute(R1, "-", 1)
    code.store(R10, IP + 7, R1, size=1)
    _store(code, parsing.ETHERNET + 7, IP + 7, 1, _RECOMPUTE)
    _store(code, 0, IP - parsing.ETHERNET, parsing.ETHERNET)
    code.label("written")


def _store(code: Assembler, offset: int, place: int, size: int, flags: int = 0) -> None:
    """Bytes of the stack to the frame."""
    code.copy(R1, R6)
    code.set(R2, offset)
    parsing.at(code, R3, place)
    code.set(R4, size)
    code.set(R5, flags)
    code.call(parsing.STORE)
    code.jump("!=", R0, 0, to="next")


def _send(code: Assembler) -> None:
    """Without a mark, as if it came out of a pod's namespace."""
    code.set(R1, 0)
    code.store(R6, parsing.MARK, R1, size=4)
    code.load(R1, R7, layout.CONFIG_VXLAN, size=4)
    code.compare("!=", R1, R9, to="into the pod")
    code.copy(R1, R9)
    code.set(R2, 0)
    code.call(parsing.REDIRECT)
    code.exit()
    code.label("into the pod")
    code.copy(R1, R6)
    code.set(R2, _HOST)
    code.call(parsing.SET_TYPE)
    code.copy(R1, R9)
    code.set(R2, 0)
    code.call(parsing.REDIRECT_PEER)
    code.exit()
