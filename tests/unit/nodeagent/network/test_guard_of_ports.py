"""The guard of pods' ports in the real kernel: of what a pod sends, nothing passes from port to port, however the frame is made."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.network import guard
from nodeagent.network.guard import Binding
from nodeagent.network.nftables import Nftables
from tests.support import frames
from tests.support.frames import ETH_8021AD, ETH_8021Q, ETH_ARP, ETH_IP, ETH_IPV6
from tests.support.networks import pinned

pytestmark = pytest.mark.root
BRIDGE_MAC, OWN, OTHER = "0a:58:0a:f4:01:01", "02:00:00:00:00:05", "02:00:00:00:00:06"
TARGETS = {"unicast": OTHER, "broadcast": "ff:ff:ff:ff:ff:ff", "multicast": "01:00:5e:00:00:fb", "bridge": BRIDGE_MAC}
TAGS = {
    "802.1Q": (ETH_8021Q,), "802.1ad": (ETH_8021AD,), "802.1Q twice": (ETH_8021Q, ETH_8021Q), "Q-in-Q": (ETH_8021AD, ETH_8021Q),
}  # fmt: skip
SENT = {4: ("10.244.1.5", "10.244.1.6"), 6: ("fd00:244:0:1::5", "fd00:244:0:1::6")}
BINDINGS = [Binding("pnc0", OWN, source) for source, _ in SENT.values()]
PORTS = ("pnc0", OWN), ("pnc1", OTHER)


class Bridge:
    """A host's bridge with two pods at its ports, the first of which sends."""

    def __init__(self, host: Path, pods: tuple[Path, Path]) -> None:
        self.host, self.pods = host, pods
        lines = [f"ip link add pinnace0 address {BRIDGE_MAC} type bridge", "ip link set pinnace0 up"]
        for (port, mac), pod in zip(PORTS, pods, strict=True):
            lines.append(f"ip link add {port} type veth peer name eth0 address {mac} netns {pod}")
            lines.append(f"ip link set {port} master pinnace0 up")
            lines.append(f"nsenter --net={pod} ip link set eth0 up")
        enter = ["nsenter", f"--net={host}", "sh", "-ec", "\n".join(lines)]
        subprocess.run(enter, check=True, timeout=60)

    def guard(self) -> None:
        frames.within(self.host, lambda: Nftables().run(guard.bridge_rules("pinnace", "pnc", BINDINGS, mac=BRIDGE_MAC)))

    def passed(self, sent: dict[str, bytes]) -> tuple[set[str], set[str]]:
        """Names of the frames that come to the other pod, and to the host. Their payload ends with the name."""
        with frames.captured(self.pods[1], "eth0") as other, frames.captured(self.host, "pinnace0") as host:
            for frame in sent.values():
                frames.send_frame(self.pods[0], "eth0", frame)
            found = other(), host()
        others, hosts = ({name for name in sent for frame in got if f"<{name}>".encode() in frame} for got in found)
        return others, hosts


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    with contextlib.ExitStack() as stack:
        host, one, two = (stack.enter_context(pinned(tmp_path / name)) for name in ("host", "one", "two"))
        yield Bridge(host, (one, two))


def ip(name: str, family: int, target: str) -> bytes:
    """From the sender's own addresses, as the guard wants it."""
    make, kind = (frames.ipv4_udp, ETH_IP) if family == 4 else (frames.ipv6_udp, ETH_IPV6)
    return frames.ethernet(OWN, TARGETS[target], make(*SENT[family], f"<{name}>".encode()), kind)


def forged() -> dict[str, bytes]:
    """All that a policy or a neighbour would be evaded by."""
    found = dict[str, bytes]()
    for (tag, kinds), family, target in itertools.product(TAGS.items(), SENT, TARGETS):
        for vlan in (0, 7):
            name = f"{tag} {vlan} {family} {target}"
            found[name] = frames.tagged(ip(name, family, target), *kinds, vlan=vlan)
    for family, target in itertools.product(SENT, TARGETS):
        name = f"SNAP {family} {target}"
        found[name] = frames.snap(ip(name, family, target))
    advertised = frames.ethernet(OWN, OTHER, frames.neighbour_advertisement(SENT[6][0], OWN), ETH_IPV6)
    answered = frames.ethernet(OWN, OTHER, frames.arp_reply(SENT[4][0], OWN, SENT[4][1], OTHER), ETH_ARP)
    for what, frame in (("ND", advertised), ("ARP", answered)):
        for tag, kinds in TAGS.items():
            name = f"{tag} {what}"
            found[name] = frames.tagged(frame, *kinds) + f"<{name}>".encode()
    return found


def test_no_frame_with_a_tag_or_a_length_leaves_a_pods_port(bridge: Bridge) -> None:
    """From the pod's own addresses: to its neighbour, to all, and to the bridge, which would route it. Without the rules each passes."""
    sent = forged()
    without = bridge.passed(sent)
    bridge.guard()
    # A capture sees a tag of the frame's own no longer, but the payload.
    assert without[0] == {name for name in sent if not name.endswith("bridge")}
    assert without[1] >= {name for name in sent if name.endswith(("bridge", "broadcast"))}
    assert bridge.passed(sent) == (set(), set())


def test_untagged_packets_come_to_the_bridge(bridge: Bridge) -> None:
    """And to no other port."""
    bridge.guard()
    sent = {name: ip(name, family, target) for family in SENT for target in TARGETS for name in [f"{family} {target}"]}
    assert bridge.passed(sent) == (set(), {"4 bridge", "6 bridge"})
