"""The program that learns flows: at the egress of the VXLAN device and of the bridge.

A packet that the rules have marked is of an established, untranslated connection, and the kernel has done all its work on it:
it is routed, and has the Ethernet header that it leaves with. The flow is recorded as the device that its packets arrive at,
the device that they leave by, and this header. For a pod that is the port of its address, at both ends: a flow that was learnt
from one pod's packets does not match those that another pod sends in its name. Pure.
"""

from __future__ import annotations

from nodeagent.network.fastpath import layout, parsing
from nodeagent.network.fastpath.assembler import R0, R1, R2, R3, R4, R6, R7, R8, R10, Assembler
from nodeagent.network.fastpath.parsing import FLOW


def program(*, config: int, ports: int, flows: int, counters: int) -> bytes:
    """The maps' file descriptors."""
    code = Assembler()
    parsing.begin(code, config)
    code.load(R1, R6, parsing.MARK, size=4)
    code.jump("&", R1, layout.MARK, to="marked")
    code.go("next")
    code.label("marked")
    code.compute(R1, "&", ~layout.MARK)
    code.store(R6, parsing.MARK, R1, size=4)
    parsing.parse(code)
    # Neither the beginning of a connection nor its end.
    code.jump("!=", R8, parsing.ACK, to="next")
    code.load(R1, R6, parsing.ARRIVED, size=4)
    _device(code, ports, layout.SOURCE, layout.DEVICE)
    code.load(R1, R6, parsing.DEVICE, size=4)
    _device(code, ports, layout.TARGET, layout.OUT)
    _record(code)
    _insert(code, flows)
    parsing.count(code, counters, layout.LEARNED)
    return parsing.end(code)


def _device(code: Assembler, ports: int, address: int, place: int) -> None:
    """Store the device in r1; for the bridge, the port of the pod that has the address. Others are not learnt."""
    known = f"known {place}"
    code.load(R2, R7, layout.CONFIG_VXLAN, size=4)
    code.compare("==", R1, R2, to=known)
    code.load(R2, R7, layout.CONFIG_BRIDGE, size=4)
    code.compare("!=", R1, R2, to="next")
    parsing.lookup(code, ports, FLOW + address, missing="next")
    code.load(R1, R0, 0, size=4)
    code.label(known)
    code.store(R10, FLOW + place, R1, size=4)


def _record(code: Assembler) -> None:
    """The rest of the flow, on the stack."""
    code.load(R1, R6, parsing.PRIORITY, size=4)
    code.store(R10, FLOW + layout.PRIORITY, R1, size=4)
    code.load(R1, R7, layout.CONFIG_GENERATION, size=4)
    code.store(R10, FLOW + layout.GENERATION, R1, size=8)
    code.store_number(R10, FLOW + layout.GENERATION + 8, 0, size=8)
    parsing.read(code, 0, FLOW + layout.ETHERNET, parsing.ETHERNET)
    code.call(parsing.TIME)
    code.store(R10, FLOW + layout.LEARNT, R0, size=8)


def _insert(code: Assembler, flows: int) -> None:
    code.map(R1, flows)
    parsing.at(code, R2, FLOW)
    code.copy(R3, R2)
    code.set(R4, 0)
    code.call(parsing.UPDATE)
