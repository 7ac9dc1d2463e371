"""Forged packets: what a pod, an unprivileged process or a host that is no node sends is not taken for a peer's or another
pod's. Each attack is sent for real; `test_the_attacks_work_without_the_rules` shows that the packets are well made."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodeagent.network.vxlan import mac_of, vtep_of
from tests.support import frames
from tests.support.labs import LabUnderTest, eventually, pod, running

pytestmark = pytest.mark.root
VICTIM, NEIGHBOUR, ATTACKER = "victim", "neighbour", "attacker"
NODES = ("node-1", "node-2")


class Place:
    """A lab of two nodes: the attacker and its neighbour on node-1, the victim on node-2."""

    def __init__(self, lab: LabUnderTest) -> None:
        self.lab = lab
        lab.apply(
            pod(VICTIM, nodeName="node-2"), *(pod(name, nodeName="node-1") for name in (NEIGHBOUR, ATTACKER)),
            pod("host", nodeName="node-1", hostNetwork=True),
        )  # fmt: skip
        self.pods = eventually(lambda: lab.all_running([VICTIM, NEIGHBOUR, ATTACKER, "host"]))
        details = json.loads(self.on("node-1", "ip", "-d", "-j", "link", "show", "pinnace-vx"))[0]["linkinfo"]["info_data"]
        self.vni, self.port = int(details["id"]), int(details["port"])

    def host(self, name: str) -> Path:
        return Path(f"/run/pinnace/labs/{self.lab.name}/ns/{name}.net")

    def on(self, name: str, *command: str) -> str:
        enter = ["nsenter", f"--net={self.host(name)}"]
        return subprocess.run([*enter, *command], capture_output=True, text=True, check=True, timeout=30).stdout

    def of(self, name: str) -> Path:
        """A pod's network namespace."""
        return Path(f"/proc/{self.lab.state(self.pods[name])['pid']}/ns/net")

    def address(self, name: str) -> str:
        return str(self.pods[name]["status"]["podIP"])

    def mac(self, name: str) -> str:
        found = subprocess.run(
            ["nsenter", f"--net={self.of(name)}", "ip", "-j", "link", "show", "eth0"], capture_output=True, check=True
        ).stdout
        return str(json.loads(found)[0]["address"])

    def underlay(self, node: str) -> str:
        addresses: list[dict[str, str]] = self.lab.get("node", node)["status"]["addresses"]
        return next(item["address"] for item in addresses if item["type"] == "InternalIP")

    def cidr(self, node: str) -> str:
        return str(self.lab.get("node", node)["spec"]["podCIDR"])

    def forged(self) -> bytes:
        """Encapsulated for node-2, as if node-1 had routed it: the neighbour seems to write to the victim."""
        inner = frames.ipv4_udp(self.address(NEIGHBOUR), self.address(VICTIM), b"forged")
        return frames.vxlan(self.vni, frames.ethernet(mac_of("node-1"), mac_of("node-2"), inner))

    def nic(self, host: str) -> str:
        """The MAC address of a host on the underlay."""
        return str(json.loads(self.on(host, "ip", "-j", "link", "show", "eth0"))[0]["address"])

    def plain(self, by: str, target: str) -> None:
        """The outsider sends `target`, by way of a node, a packet that is not encapsulated and seems to be the neighbour's."""
        frame = frames.ethernet(self.nic("control"), self.nic(by), frames.ipv4_udp(self.address(NEIGHBOUR), target, b"plain"))
        frames.send_frame(self.host("control"), "eth0", frame)

    def restart_agents(self) -> None:
        for node in NODES:
            self.lab.kill(node)
        self.start_agents()

    def start_agents(self) -> None:
        """They bring the tables to what they should be."""
        for node in NODES:
            self.lab.start_agent(node)
        for node in NODES:
            eventually(lambda node=node: {"bindings", "peers_4"} <= set(self.on(node, "nft", "list", "ruleset").split()))

    def received(self, send: Any) -> list[bytes]:
        """What the victim gets when `send` is called."""
        with frames.listening(self.of(VICTIM), self.address(VICTIM)) as got:
            send()
            return got()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running("t-forged", tmp_path_factory.mktemp("forged"), nodes=2) as lab:
        yield Place(lab)


@contextlib.contextmanager
def through(place: Place, address: str, node: str) -> Iterator[None]:
    """The outsider sends to `address` by way of a node."""
    way = [f"{address}/32", "via", place.underlay(node)]
    place.on("control", "ip", "route", "add", *way)
    try:
        yield
    finally:
        place.on("control", "ip", "route", "del", *way)


def test_ordinary_packets_arrive(place: Place) -> None:
    """From the attacker in its own name, across nodes and to its neighbour."""
    own = (place.address(VICTIM), frames.PORT)
    assert place.received(lambda: frames.send_udp(place.of(ATTACKER), own, b"hello")) == [b"hello"] * 3
    with frames.listening(place.of(NEIGHBOUR), place.address(NEIGHBOUR)) as got:
        frames.send_udp(place.of(ATTACKER), (place.address(NEIGHBOUR), frames.PORT), b"hello")
        assert got() == [b"hello"] * 3


@pytest.mark.parametrize("name", [VICTIM, NEIGHBOUR])
def test_a_process_of_the_node_reaches_every_pod(place: Place, name: str) -> None:
    """Of its own node and of others, as a pod with hostNetwork does."""
    own = (place.address(name), frames.PORT)
    with frames.listening(place.of(name), place.address(name)) as got:
        frames.send_udp(place.host("node-1"), own, b"hello")
        assert got() == [b"hello"] * 3


@pytest.mark.parametrize("target", ["underlay of the peer", "VTEP of the peer", "gateway of the peer"])
def test_a_pod_cannot_send_encapsulated_packets(place: Place, target: str) -> None:
    network = vtep_of(place.cidr("node-2"))
    address = {
        "underlay of the peer": place.underlay("node-2"),
        "VTEP of the peer": network,
        "gateway of the peer": network.rpartition(".")[0] + ".1",
    }[target]
    assert place.received(lambda: frames.send_udp(place.of(ATTACKER), (address, place.port), place.forged())) == []


def test_a_pod_cannot_send_encapsulated_packets_to_its_own_node(place: Place) -> None:
    """Decapsulated there, they would reach its neighbour in anyone's name."""
    inner = frames.ipv4_udp(place.address(VICTIM), place.address(NEIGHBOUR), b"forged")
    payload = frames.vxlan(place.vni, frames.ethernet(mac_of("node-2"), mac_of("node-1"), inner))
    gateway = vtep_of(place.cidr("node-1")).rpartition(".")[0] + ".1"
    with frames.listening(place.of(NEIGHBOUR), place.address(NEIGHBOUR)) as got:
        for address in (gateway, vtep_of(place.cidr("node-1")), place.underlay("node-1")):
            frames.send_udp(place.of(ATTACKER), (address, place.port), payload)
        assert got() == []


def test_a_process_on_the_node_cannot_send_encapsulated_packets(place: Place) -> None:
    """A pod with hostNetwork has the node's address, which its peers accept; the kernel sends, processes do not."""
    target = (place.underlay("node-2"), place.port)
    assert place.received(lambda: frames.send_udp(place.host("node-1"), target, place.forged())) == []


# Frames to these a bridge hands to the port itself (IEEE 802.1D, table 8-1).
LINK_LOCAL = [f"01:80:c2:00:00:{last:02x}" for last in (0x00, 0x02, 0x03, 0x0E)]


@pytest.mark.parametrize("target", ["broadcast", "multicast"])
def test_a_host_that_is_no_node_cannot_send_encapsulated_packets_to_many(place: Place, target: str) -> None:
    address = place.underlay("node-2").rpartition(".")[0] + ".255" if target == "broadcast" else "224.0.0.1"
    place.on("control", "ip", "route", "replace", "224.0.0.0/4", "dev", "eth0")
    try:
        assert place.received(lambda: frames.send_udp(place.host("control"), (address, place.port), place.forged())) == []
    finally:
        place.on("control", "ip", "route", "del", "224.0.0.0/4", "dev", "eth0")


@pytest.mark.parametrize("mac", LINK_LOCAL)
def test_frames_to_link_local_addresses_reach_nothing(place: Place, mac: str) -> None:
    """Past the bridge's rules they come to the port: forged senders, encapsulated packets, IPv6 and ARP."""
    gateway = vtep_of(place.cidr("node-1")).rpartition(".")[0] + ".1"
    inner = frames.ipv4_udp(place.address(VICTIM), place.address(NEIGHBOUR), b"forged")
    encapsulated = frames.vxlan(place.vni, frames.ethernet(mac_of("node-2"), mac_of("node-1"), inner))
    outer = frames.ipv4_udp(place.underlay("node-2"), place.underlay("node-1"), encapsulated, port=place.port)
    attempts = [
        frames.ipv4_udp(source, gateway, b"forged")
        for source in (place.address(NEIGHBOUR), "8.8.8.8", place.underlay("node-2"))
    ]
    with (
        frames.listening(place.of(NEIGHBOUR), place.address(NEIGHBOUR)) as neighbour,
        frames.listening(place.host("node-1"), gateway) as node,
    ):
        for packet in (*attempts, outer):
            frames.send_frame(place.of(ATTACKER), "eth0", frames.ethernet(place.mac(ATTACKER), mac, packet))
        assert (node(), neighbour()) == ([], [])
    frames.send_frame(place.of(ATTACKER), "eth0", frames.router_advertisement(place.mac(ATTACKER), mac))
    assert place.on("node-1", "ip", "-6", "route", "show", "default") == ""
    assert "2001:db8:bad" not in place.on("node-1", "ip", "-6", "-o", "addr")


def test_a_host_that_is_no_node_cannot_send_encapsulated_packets(place: Place) -> None:
    target = (place.underlay("node-2"), place.port)
    assert place.received(lambda: frames.send_udp(place.host("control"), target, place.forged())) == []


@pytest.mark.parametrize("what", ["IP address", "MAC address", "both"])
def test_a_pod_cannot_send_from_its_neighbours_address(place: Place, what: str) -> None:
    source = place.address(ATTACKER if what == "MAC address" else NEIGHBOUR)
    own = place.mac(ATTACKER if what == "IP address" else NEIGHBOUR)
    bridge = json.loads(place.on("node-1", "ip", "-j", "link", "show", "pinnace0"))[0]["address"]
    frame = frames.ethernet(own, bridge, frames.ipv4_udp(source, place.address(VICTIM), b"forged"))
    assert place.received(lambda: frames.send_frame(place.of(ATTACKER), "eth0", frame)) == []


def test_a_pod_cannot_reach_the_nodes_localhost(place: Place) -> None:
    """The bridge routes to 127.0.0.0/8 for host ports, which would open the node's own services (CVE-2020-8558)."""
    bridge = json.loads(place.on("node-1", "ip", "-j", "link", "show", "pinnace0"))[0]["address"]
    frame = frames.ethernet(place.mac(ATTACKER), bridge, frames.ipv4_udp(place.address(ATTACKER), "127.0.0.1", b"in"))
    with frames.listening(place.host("node-1"), "127.0.0.1") as got:
        frames.send_frame(place.of(ATTACKER), "eth0", frame)
        assert got() == []


def test_router_advertisements_of_a_pod_reach_nobody(place: Place) -> None:
    """CVE-2020-10749."""
    frame = frames.router_advertisement(place.mac(ATTACKER))
    for _ in range(3):
        frames.send_frame(place.of(ATTACKER), "eth0", frame)
    routes = place.on("node-1", "ip", "-6", "route", "show", "default")
    inside = ["nsenter", f"--net={place.of(NEIGHBOUR)}", "ip", "-6", "-o"]
    neighbour = subprocess.run([*inside, "route", "show", "default"], capture_output=True, text=True, check=True).stdout
    addresses = subprocess.run([*inside, "addr", "show"], capture_output=True, text=True, check=True).stdout
    assert (routes, neighbour) == ("", "")
    assert "2001:db8:bad" not in addresses + place.on("node-1", "ip", "-6", "-o", "addr")


def test_the_host_does_not_become_a_router(place: Place) -> None:
    """Packets that neither come from a pod nor are for one are not forwarded by a host that was no router before."""
    address = place.underlay("node-2")
    with through(place, address, "node-1"), frames.listening(place.host("node-2"), address) as got:
        frames.send_udp(place.host("control"), (address, frames.PORT), b"through")
        assert got() == []


@pytest.mark.parametrize("node", NODES)
def test_outsiders_reach_no_pod_directly(place: Place, node: str) -> None:
    """By way of the pod's own node or of another, whose packet the pod's node would take for a peer's."""
    place.on("node-2", "sysctl", "-qw", "net.ipv4.conf.pinnace-vx.rp_filter=0")
    target = (place.address(VICTIM), frames.PORT)
    try:
        with through(place, place.address(VICTIM), node):
            assert place.received(lambda: frames.send_udp(place.host("control"), target, b"in")) == []
    finally:
        place.on("node-2", "sysctl", "-qw", "net.ipv4.conf.pinnace-vx.rp_filter=1")


@pytest.mark.parametrize("node", NODES)
def test_a_host_that_is_no_node_cannot_send_in_a_pods_name(place: Place, node: str) -> None:
    """Its packet is an ordinary one; a node that forwards it would give it the overlay's trust."""
    assert place.received(lambda: place.plain(node, place.address(VICTIM))) == []


def test_a_host_that_is_no_node_cannot_send_to_the_node_in_a_pods_name(place: Place) -> None:
    with frames.listening(place.host("node-1"), place.underlay("node-1")) as got:
        place.plain("node-1", place.underlay("node-1"))
        assert got() == []


@pytest.fixture
def routers(place: Place) -> Iterator[None]:
    """Both nodes' agents find a host that forwarded before them, as one with Docker does."""
    markers = [place.lab.memory_dir(node) / "forwarding" for node in NODES]
    for marker in markers:
        marker.unlink()
    place.restart_agents()
    for node in NODES:
        eventually(lambda node=node: "chain guard_forward" not in place.on(node, "nft", "list", "table", "inet", "pinnace"))
    yield
    # The memory is mounted in the new agents' namespaces too.
    for node in NODES:
        (place.lab.memory_dir(node) / "forwarding").touch()
    place.restart_agents()
    for node in NODES:
        eventually(lambda node=node: "chain guard_forward" in place.on(node, "nft", "list", "table", "inet", "pinnace"))


@pytest.mark.usefixtures("routers")
def test_a_host_that_forwarded_before_is_careful_about_senders_too(place: Place) -> None:
    """Such a host forwards for outsiders, in their own name alone."""
    address = place.underlay("node-2")
    with through(place, address, "node-1"), frames.listening(place.host("node-2"), address) as got:
        frames.send_udp(place.host("control"), (address, frames.PORT), b"through")
        assert got() != []
    for node in NODES:
        test_a_host_that_is_no_node_cannot_send_in_a_pods_name(place, node)
    test_a_host_that_is_no_node_cannot_send_to_the_node_in_a_pods_name(place)
    test_ordinary_packets_arrive(place)


def test_the_attacks_work_without_the_rules(place: Place) -> None:
    """Last: the tables are deleted by hand without agents, which make them again when they start."""
    for node in NODES:
        place.lab.kill(node)
        for family in ("inet", "bridge", "arp"):
            place.on(node, "nft", "delete", "table", family, "pinnace")
        place.on(node, "sysctl", "-qw", "net.ipv4.conf.pinnace0.rp_filter=0", "net.ipv4.conf.pinnace-vx.rp_filter=0")
    try:
        target = (place.underlay("node-2"), place.port)
        for host in ("node-1", "control"):
            assert b"forged" in place.received(lambda host=host: frames.send_udp(place.host(host), target, place.forged()))
        address = place.underlay("node-2")
        with through(place, address, "node-1"), frames.listening(place.host("node-2"), address) as got:
            frames.send_udp(place.host("control"), (address, frames.PORT), b"through")
            assert got() != []
        for node in NODES:
            assert b"plain" in place.received(lambda node=node: place.plain(node, place.address(VICTIM)))
        with frames.listening(place.host("node-1"), place.underlay("node-1")) as got:
            place.plain("node-1", place.underlay("node-1"))
            assert b"plain" in got()
        bridge = json.loads(place.on("node-1", "ip", "-j", "link", "show", "pinnace0"))[0]["address"]
        packet = frames.ipv4_udp(place.address(NEIGHBOUR), place.address(VICTIM), b"forged")
        frame = frames.ethernet(place.mac(ATTACKER), bridge, packet)
        assert b"forged" in place.received(lambda: frames.send_frame(place.of(ATTACKER), "eth0", frame))
    finally:
        place.start_agents()
    test_a_host_that_is_no_node_cannot_send_encapsulated_packets(place)
    test_a_pod_cannot_send_from_its_neighbours_address(place, "IP address")
