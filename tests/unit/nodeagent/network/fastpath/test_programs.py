"""The programs in the kernel, run on single frames: which flows are learnt, and which frames are forwarded how."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from nodeagent.network.fastpath import layout
from nodeagent.network.fastpath.objects import Objects
from tests.support.bpfrun import Context, Outcome, run
from tests.support.networks import alone

pytestmark = pytest.mark.root
POD, OTHER, REMOTE = ("10.0.0.2", "fd00::2"), ("10.0.0.3", "fd00::3"), ("10.0.1.2", "fd00:1::2")
PASSED, REDIRECTED = -1, 7
MTU = 1450
TCP, UDP, ICMP = socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMP
ACK, SYN, FIN, RST, PSH = 16, 2, 1, 4, 8
# The Ethernet header that the slow path gives a frame.
NEW = bytes.fromhex("0a580a0000020a580a000001")


@dataclass(frozen=True)
class Frame:
    """Of a packet; `mac` is that of the device that it comes to."""

    source: str
    target: str
    protocol: int = TCP
    ports: tuple[int, int] = (40000, 80)
    flags: int = ACK
    hops: int = 64
    fragment: int = 0
    options: bytes = b""
    payload: bytes = b"hello"
    mac: bytes = bytes(6)
    header: bytes = b""

    def packed(self) -> bytes:
        body = struct.pack("!HH", *self.ports)
        if self.protocol == TCP:
            body += struct.pack("!IIBBHHH", 1, 1, 5 << 4, self.flags, 1000, 0, 0)
        else:
            body += struct.pack("!HH", 8 + len(self.payload), 0)
        body += self.payload
        v6 = ":" in self.source
        header = self.header or self.mac + bytes(6)
        return header + (b"\x86\xdd" if v6 else b"\x08\x00") + (self._ipv6(body) if v6 else self._ipv4(body)) + body

    def _ipv4(self, body: bytes) -> bytes:
        size = 20 + len(self.options)
        addresses = socket.inet_aton(self.source) + socket.inet_aton(self.target)
        packed = struct.pack(
            "!BBHHHBBH", 0x40 | size // 4, 0, size + len(body), 1, self.fragment, self.hops, self.protocol, 0
        ) + addresses + self.options  # fmt: skip
        return packed[:10] + struct.pack("!H", checksum(packed)) + packed[12:]

    def _ipv6(self, body: bytes) -> bytes:
        addresses = b"".join(socket.inet_pton(socket.AF_INET6, item) for item in (self.source, self.target))
        return struct.pack("!IHBB", 6 << 28, len(body), self.protocol, self.hops) + addresses


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


@dataclass
class Place:
    """A node whose overlay is the device `vxlan`; a pod with POD has the port `port`, another one with OTHER `other`."""

    kernel: Objects
    vxlan: int
    bridge: int
    port: int
    other: int
    macs: dict[int, bytes]
    generation: int = 1

    def configure(self) -> None:
        self.kernel.configure(self.generation, vxlan=self.vxlan, bridge=self.bridge, limit=MTU + 14)

    def learn(self, frame: Frame, *, arrived: int, device: int, mark: int = layout.MARK, priority: int = 0) -> Outcome:
        sent = replace(frame, header=NEW).packed()
        return run(self.kernel.learn, sent, Context(device, arrived, mark | 0x8, priority))

    def forward(self, frame: Frame, *, device: int, segment: int = 0) -> Outcome:
        return run(
            self.kernel.forward,
            replace(frame, mac=frame.mac if any(frame.mac) else self.macs[device]).packed(),
            Context(device, segment=segment),
        )

    def flows(self) -> list[bytes]:
        return list(self.kernel.flows.keys())


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=30).stdout


def on_a_node(work: Callable[[Place], None]) -> None:
    def within() -> None:
        for words in (("vx0", "vx1"), ("p0", "p1"), ("q0", "q1")):
            ip("link", "add", words[0], "type", "veth", "peer", "name", words[1])
        ip("link", "add", "br0", "type", "bridge")
        links = {item["ifname"]: item for item in json.loads(ip("-j", "link"))}
        index = {name: int(item["ifindex"]) for name, item in links.items()}
        macs = {index[name]: bytes.fromhex(item["address"].replace(":", "")) for name, item in links.items()}
        place = Place(Objects(), index["vx0"], index["br0"], index["p0"], index["q0"], macs)
        try:
            place.configure()
            for addresses, port in ((POD, place.port), (OTHER, place.other)):
                for address in addresses:
                    place.kernel.add_port(address, port)
            work(place)
        finally:
            place.kernel.close()

    alone(within)


INWARD = [Frame(REMOTE[v6], POD[v6], protocol) for v6 in (0, 1) for protocol in (TCP, UDP)]
IDS = ["tcp4", "udp4", "tcp6", "udp6"]


@pytest.mark.parametrize("frame", INWARD, ids=IDS)
def test_an_inward_flow_is_learnt_and_forwarded_into_the_pod(frame: Frame) -> None:
    def check(place: Place) -> None:
        learnt = place.learn(frame, arrived=place.vxlan, device=place.bridge, priority=6)
        assert (learnt.code, learnt.mark) == (PASSED, 0x8)
        [key] = place.flows()
        flow = place.kernel.flows.lookup(key) or b""
        assert struct.unpack_from("=I", key)[0] == place.vxlan
        assert struct.unpack_from("=I", flow, layout.OUT)[0] == place.port
        found = place.forward(replace(frame, hops=7), device=place.vxlan)
        # One hop less, with a checksum that is right, and the Ethernet header of the slow path; nothing else differs.
        assert found.code == REDIRECTED
        assert found.frame == replace(frame, hops=6, header=NEW).packed()
        assert (found.mark, found.priority) == (0, 6)
        assert place.kernel.packets() == {"forwarded": 1, "learned": 1, "passed": 0}

    on_a_node(check)


@pytest.mark.parametrize("v6", [0, 1])
def test_an_outward_flow_is_of_the_port_of_its_source(v6: int) -> None:
    """The frame leaves to the overlay; one in the pod's name that comes from another port takes the slow path."""

    def check(place: Place) -> None:
        frame = Frame(POD[v6], REMOTE[v6])
        place.learn(frame, arrived=place.bridge, device=place.vxlan)
        assert place.forward(frame, device=place.other).code == PASSED
        assert place.forward(frame, device=place.vxlan).code == PASSED
        assert place.forward(frame, device=place.port).code == REDIRECTED

    on_a_node(check)


def test_frames_of_a_pod_to_all_devices_take_the_slow_path() -> None:
    def check(place: Place) -> None:
        frame = Frame(POD[0], REMOTE[0])
        place.learn(frame, arrived=place.bridge, device=place.vxlan)
        for mac in (b"\xff" * 6, bytes.fromhex("01005e000001")):
            assert place.forward(replace(frame, mac=mac), device=place.port).code == PASSED

    on_a_node(check)


def test_a_flow_within_the_node_leads_from_port_to_port() -> None:
    def check(place: Place) -> None:
        frame = Frame(POD[0], OTHER[0])
        place.learn(frame, arrived=place.bridge, device=place.bridge)
        [key] = place.flows()
        assert struct.unpack_from("=I", place.kernel.flows.lookup(key) or b"", layout.OUT)[0] == place.other
        # To the bridge's MAC address, which is not the port's.
        assert place.forward(replace(frame, mac=NEW[:6]), device=place.port).code == REDIRECTED

    on_a_node(check)


def test_checksums_that_overflow_are_right() -> None:
    """Of every value that the checksum of a header can have next to the overflow."""

    def check(place: Place) -> None:
        for target in range(256):
            frame = Frame(f"10.0.1.{target}", POD[0], hops=255)
            place.learn(frame, arrived=place.vxlan, device=place.bridge)
            for hops in (2, 128, 255):
                found = place.forward(replace(frame, hops=hops), device=place.vxlan).frame
                assert checksum(found[14:34]) == 0, (target, hops)
                assert found[14 + 8] == hops - 1

    on_a_node(check)


BASE = Frame(REMOTE[0], POD[0])
BASE6 = Frame(REMOTE[1], POD[1])
SLOW = {
    "another source": replace(BASE, source="10.0.1.3"),
    "another target": replace(BASE, target=OTHER[0]),
    "another port of the source": replace(BASE, ports=(40001, 80)),
    "another port of the target": replace(BASE, ports=(40000, 81)),
    "another protocol": replace(BASE, protocol=UDP),
    "first fragment": replace(BASE, fragment=0x2000),
    "later fragment": replace(BASE, fragment=8),
    # Which are where the ports are otherwise.
    "options": replace(BASE, options=struct.pack("!HH", *BASE.ports)),
    "last hop": replace(BASE, hops=1),
    "begin": replace(BASE, flags=SYN),
    "answer to a begin": replace(BASE, flags=SYN | ACK),
    "end": replace(BASE, flags=FIN | ACK),
    "reset": replace(BASE, flags=RST),
    "too long": replace(BASE, payload=bytes(MTU - 39)),
    "broadcast": replace(BASE, mac=b"\xff" * 6),
    "multicast": replace(BASE, mac=bytes.fromhex("01005e000001")),
    "to another device": replace(BASE, mac=bytes.fromhex("0a0000000001")),
    "cut off": replace(BASE, payload=b""),
}


@pytest.mark.parametrize("name", SLOW)
def test_what_differs_takes_the_slow_path(name: str) -> None:
    def check(place: Place) -> None:
        place.learn(BASE, arrived=place.vxlan, device=place.bridge)
        frame = SLOW[name]
        if name == "cut off":
            cut = replace(BASE, mac=place.macs[place.vxlan]).packed()[: 14 + 20 + 4]
            assert run(place.kernel.forward, cut, Context(place.vxlan)).code == PASSED
        else:
            found = place.forward(frame, device=place.vxlan)
            assert found.code == PASSED
            assert found.frame == replace(frame, mac=frame.mac if any(frame.mac) else place.macs[place.vxlan]).packed()
        ended = name in ("begin", "answer to a begin", "end", "reset")
        assert bool(place.flows()) is not ended
        assert place.forward(BASE, device=place.vxlan).code == (PASSED if ended else REDIRECTED)

    on_a_node(check)


@pytest.mark.parametrize(
    "changed", [{"protocol": 0}, {"protocol": 44}, {"hops": 1}, {"flags": RST}, {"payload": bytes(MTU - 59)}]
)
def test_what_differs_of_ipv6_takes_the_slow_path(changed: dict[str, int]) -> None:
    """Extension headers are hop-by-hop options (0) and fragments (44)."""

    def check(place: Place) -> None:
        place.learn(BASE6, arrived=place.vxlan, device=place.bridge)
        assert place.forward(replace(BASE6, **changed), device=place.vxlan).code == PASSED  # type: ignore[arg-type]

    on_a_node(check)


def test_the_longest_packet_is_forwarded() -> None:
    """Also segments of that length, which are divided later; and none that are longer."""

    def check(place: Place) -> None:
        for frame, headers in ((BASE, 40), (BASE6, 60)):
            place.learn(frame, arrived=place.vxlan, device=place.bridge)
            assert place.forward(replace(frame, payload=bytes(MTU - headers)), device=place.vxlan).code == REDIRECTED
            long = replace(frame, payload=bytes(3000))
            assert place.forward(long, device=place.vxlan, segment=MTU - headers).code == REDIRECTED
            assert place.forward(long, device=place.vxlan, segment=MTU - headers + 1).code == PASSED

    on_a_node(check)


def test_a_generation_ends_all_flows() -> None:
    def check(place: Place) -> None:
        place.learn(BASE, arrived=place.vxlan, device=place.bridge)
        place.generation += 1
        place.configure()
        assert place.forward(BASE, device=place.vxlan).code == PASSED
        place.learn(BASE, arrived=place.vxlan, device=place.bridge)
        assert place.forward(BASE, device=place.vxlan).code == REDIRECTED

    on_a_node(check)


def test_an_old_flow_does_not_count() -> None:
    def check(place: Place) -> None:
        place.learn(BASE, arrived=place.vxlan, device=place.bridge)
        [key] = place.flows()
        flow = bytearray(place.kernel.flows.lookup(key) or b"")
        [learnt] = struct.unpack_from("=Q", flow, layout.LEARNT)
        struct.pack_into("=Q", flow, layout.LEARNT, learnt - (layout.MAX_AGE + 1) * 10**9)
        place.kernel.flows.update(key, bytes(flow))
        assert place.forward(BASE, device=place.vxlan).code == PASSED
        assert place.kernel.packets()["passed"] == 1

    on_a_node(check)


def test_a_flow_of_another_key_is_not_used() -> None:
    """As when the kernel has given its memory to another flow since it was found."""

    def check(place: Place) -> None:
        place.learn(BASE, arrived=place.vxlan, device=place.bridge)
        [key] = place.flows()
        flow = bytearray(place.kernel.flows.lookup(key) or b"")
        flow[layout.TARGET] ^= 1
        place.kernel.flows.update(key, bytes(flow))
        assert place.forward(BASE, device=place.vxlan).code == PASSED

    on_a_node(check)


def test_what_is_not_learnt_from() -> None:
    def check(place: Place) -> None:
        def learnt(frame: Frame = BASE, *, arrived: int = place.vxlan, mark: int = layout.MARK) -> bool:
            place.learn(frame, arrived=arrived, device=place.bridge, mark=mark)
            return bool(place.flows())

        assert not learnt(mark=0), "without a mark"
        assert not learnt(mark=0x2000), "with another mark"
        for flags in (SYN, SYN | ACK, FIN | ACK, RST, RST | ACK, PSH):
            assert not learnt(replace(BASE, flags=flags))
        assert not learnt(arrived=place.other), "from another device"
        assert not learnt(replace(BASE, source=OTHER[0]), arrived=place.other), "from another device in a pod's name"
        assert not learnt(arrived=0), "from the node itself"
        assert not learnt(replace(BASE, source="10.0.0.9"), arrived=place.bridge), "from no pod"
        assert not learnt(replace(BASE, target="10.0.0.9")), "to no pod"
        assert not learnt(replace(BASE, protocol=ICMP))
        assert learnt()

    on_a_node(check)


def test_an_address_moves_to_another_port() -> None:
    def check(place: Place) -> None:
        place.kernel.add_port(POD[0], place.other)
        place.kernel.remove_port(POD[0], place.port)
        place.learn(BASE, arrived=place.vxlan, device=place.bridge)
        [key] = place.flows()
        assert struct.unpack_from("=I", place.kernel.flows.lookup(key) or b"", layout.OUT)[0] == place.other
        place.kernel.remove_port(POD[0], place.other)
        place.kernel.flows.delete(key)
        place.learn(BASE, arrived=place.vxlan, device=place.bridge)
        assert not place.flows()

    on_a_node(check)
