"""Dual stack: pods have addresses of both IP families, reach each other and the outside by both, and forge neither."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.network.vxlan import mac_of
from tests.support import frames
from tests.support.dualstack import ALL_NODES, ATTACKER, NEIGHBOUR, PODS, VICTIM, Place, is_discovery, packet, self_free
from tests.support.labs import eventually, running
from tests.support.policymatrix import policy

pytestmark = pytest.mark.root
FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running("t-dual", tmp_path_factory.mktemp("dual"), nodes=2, up=("--ip-family", "dual")) as lab:
        yield Place(lab)


# What pods and nodes have


def test_nodes_and_pods_have_addresses_of_both_families(place: Place) -> None:
    """IPv4 is the primary one: status, the downward API and /etc/hosts show both in that order."""
    status = place.pods[VICTIM]["status"]
    ips, hosts = ([item["ip"] for item in status[field]] for field in ("podIPs", "hostIPs"))
    assert (status["podIP"], status["hostIP"]) == (ips[0], hosts[0])
    assert [":" in item for item in (*ips, *hosts)] == [False, True] * 2
    said = place.lab.kctl("exec", VICTIM, "--", "sh", "-c", "echo $IPS; echo $HOSTS; cat /etc/hosts")
    assert said.splitlines()[:2] == [",".join(ips), ",".join(hosts)]
    assert [line.split()[0] for line in said.splitlines() if line.endswith(f"\t{VICTIM}")] == ips
    assert list(place.underlay("node-2").values()) == hosts


def test_each_node_has_a_share_of_both_ranges(place: Place) -> None:
    nodes = place.lab.get("nodes")["items"]
    assert [[":" in cidr for cidr in item["spec"]["podCIDRs"]] for item in nodes] == [[False, True]] * 2
    assert all(item["spec"]["podCIDR"] == item["spec"]["podCIDRs"][0] for item in nodes)
    assert len({item["spec"]["podCIDRs"][1] for item in nodes}) == 2


@FAMILIES
@pytest.mark.parametrize("target", [VICTIM, NEIGHBOUR])
def test_pods_reach_each_other(place: Place, target: str, family: int) -> None:
    """Across nodes and within one, in their own name, and with packets as large as the MTU says."""
    with frames.senders(place.of(target), place.addresses(target)[family]) as got:
        frames.send_udp(place.of(ATTACKER), (place.addresses(target)[family], frames.PORT), b"x" * 1350)
        assert got() == [(b"x" * 1350, place.addresses(ATTACKER)[family])] * 3


@FAMILIES
def test_pods_and_their_node_reach_each_other(place: Place, family: int) -> None:
    """Also another node's pods, from the address of this node's overlay device."""
    for name, target in ((ATTACKER, place.gateway("node-1", family)), (ATTACKER, place.gateway("node-2", family))):
        place.lab.kctl("exec", name, "--", "ping", "-c", "1", "-W", "5", target)
    for name in PODS:
        target = (place.addresses(name)[family], frames.PORT)
        got = place.received(name, family, lambda target=target: frames.send_udp(place.host("node-1"), target, b"node"))
        assert got == [b"node"] * 3


@FAMILIES
def test_traffic_that_leaves_the_cluster_has_the_nodes_address(place: Place, family: int) -> None:
    """The control plane's host is outside: it sees the node, and its answer reaches the pod."""
    outside = place.underlay("control")[family]
    with frames.senders(place.host("control"), outside) as got:
        frames.send_udp(place.of(VICTIM), (outside, frames.PORT), b"out")
        assert got() == [(b"out", place.underlay("node-2")[family])] * 3
    place.lab.kctl("exec", VICTIM, "--", "ping", "-c", "1", "-W", "5", outside)


@FAMILIES
def test_a_host_port_leads_to_the_pod(place: Place, family: int) -> None:
    """From another host, which the pod sees in its own name, and from a pod of another node."""
    node, target = place.underlay("node-2")[family], place.addresses(VICTIM)[family]
    with frames.senders(place.of(VICTIM), target) as got:
        frames.send_udp(place.host("control"), (node, 7070), b"in")
        assert got() == [(b"in", place.underlay("control")[family])] * 3
    assert place.received(VICTIM, family, lambda: frames.send_udp(place.of(ATTACKER), (node, 7070), b"in")) == [b"in"] * 3
    # The node's own processes.
    assert place.received(VICTIM, family, lambda: frames.send_udp(place.host("node-2"), (node, 7070), b"own")) == [b"own"] * 3


def test_a_host_port_answers_on_ipv6_localhost_to_other_addresses_of_the_node(place: Place) -> None:
    """As in Kubernetes, a process of the node that is bound to one of its addresses; one that sends from ::1 itself reaches no pod."""
    node, host = place.underlay("node-2")[6], place.host("node-2")
    with frames.senders(place.of(VICTIM), place.addresses(VICTIM)[6]) as got:
        frames.send_udp(host, ("::1", 7070), b"own")
        frames.send_udp(host, ("::1", 7070), b"bound", source=node)
        assert got() == [(b"bound", node)] * 3


@FAMILIES
def test_unassigned_addresses_of_the_cluster_go_nowhere(place: Place, family: int) -> None:
    """Refused by the node instead of leaving by a default route."""
    target = {4: "10.244.200.7", 6: "fd00:10:244:f0::7"}[family]
    result = place.lab.run("exec", ATTACKER, "--", "ping", "-c", "1", "-W", "2", target)
    assert result.returncode == 1
    routes = place.on("node-1", "ip", f"-{family}", "route")
    assert f"blackhole {'fd00:10:244::/56' if family == 6 else '10.244.0.0/16'}" in routes


# What a pod cannot do


@FAMILIES
@pytest.mark.parametrize("what", ["IP address", "MAC address", "both"])
def test_a_pod_cannot_send_from_its_neighbours_address(place: Place, what: str, family: int) -> None:
    source = place.addresses(ATTACKER if what == "MAC address" else NEIGHBOUR)[family]
    own = place.mac(place.of(ATTACKER if what == "IP address" else NEIGHBOUR))
    forged = packet(family, source, place.addresses(VICTIM)[family], b"forged")
    assert place.received(VICTIM, family, lambda: place.attack(forged, own_mac=own)) == []


@FAMILIES
def test_frames_with_vlan_tags_do_not_evade_policies(place: Place, family: int) -> None:
    """To a pod of the same node under default deny: by its MAC address, to all, to many, and to the bridge, as any packet."""
    allowed, denied = (
        packet(family, place.addresses(ATTACKER)[family], place.addresses(NEIGHBOUR)[family], payload)
        for payload in (b"in", b"tagged")
    )
    targets = place.mac(place.of(NEIGHBOUR)), "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", ALL_NODES, ""

    def attack() -> None:
        for tags in ((), (frames.ETH_8021Q,), (frames.ETH_8021AD,), (frames.ETH_8021AD, frames.ETH_8021Q)):
            for target in targets:
                place.attack(denied, target, tags=tags)

    assert place.received(NEIGHBOUR, family, lambda: place.attack(allowed)) == [b"in"] * 3
    place.lab.apply(policy("default", "deny", podSelector={}, policyTypes=["Ingress"]))
    try:
        eventually(lambda: place.received(NEIGHBOUR, family, lambda: place.attack(allowed)) == [])
        assert place.received(NEIGHBOUR, family, attack) == []
    finally:
        place.lab.kctl("delete", "networkpolicy", "deny")
    eventually(lambda: place.received(NEIGHBOUR, family, lambda: place.attack(allowed)))


def test_a_pod_sends_from_no_other_ipv6_address(place: Place) -> None:
    """Neither link-local ones nor those of the node, of its range or of the world."""
    target = place.addresses(VICTIM)[6]
    sources = ["fe80::1", "::", "2001:db8::1", place.gateway("node-1", 6), place.addresses(ATTACKER)[6] + "ff",
               place.underlay("node-1")[6], place.addresses(VICTIM)[6]]  # fmt: skip

    def send() -> None:
        for source in sources:
            place.attack(frames.ipv6_udp(source, target, b"forged"))
        # The bridge hands frames to this address to the port itself, past its own rules.
        place.attack(frames.ipv6_udp(sources[2], target, b"forged"), "01:80:c2:00:00:00")

    assert place.received(VICTIM, 6, send) == []


def test_neighbour_discovery_of_a_pod_reaches_nobody(place: Place) -> None:
    """Advertisements in the name of the gateway and the neighbour, solicitations, redirects and router advertisements
    (CVE-2020-10749): no frame of them passes, and nothing that the others know changes."""
    mac, gateway = place.mac(place.of(ATTACKER)), place.gateway("node-1", 6)
    own, neighbour = place.addresses(ATTACKER)[6], place.addresses(NEIGHBOUR)[6]
    before = known(place)
    with frames.captured(place.of(NEIGHBOUR), "eth0") as at_pod, frames.captured(place.host("node-1"), "pinnace0") as at_node:
        for owner in (gateway, neighbour, own):
            for target in (ALL_NODES, place.mac(place.of(NEIGHBOUR)), ""):
                place.attack(frames.neighbour_advertisement(owner, mac), target)
                place.attack(frames.neighbour_solicitation(own, owner, mac), target)
        place.attack(frames.redirect(gateway, neighbour, place.addresses(VICTIM)[6], mac), place.mac(place.of(NEIGHBOUR)))
        place.attack(frames.redirect(own, gateway, place.addresses(VICTIM)[6], mac))
        frames.send_frame(place.of(ATTACKER), "eth0", frames.router_advertisement(mac))
        seen = [frame for frame in (*at_pod(), *at_node()) if is_discovery(frame) and frame[6:12] == frames.mac(mac)]
    assert seen == []
    assert known(place) == before
    assert owners(place, place.of(NEIGHBOUR), mac) == []
    assert owners(place, place.host("node-1"), mac) == [own]
    test_pods_reach_each_other(place, NEIGHBOUR, 6)


def known(place: Place) -> list[str]:
    """IPv6 neighbours, routes and addresses of the neighbour and of node-1. Without the node's uplink, where other hosts of the
    underlay advertise themselves at any time."""
    words = (("neigh",), ("route",), ("-o", "addr"))
    pod, node = (
        [place.inside(namespace, "ip", "-6", *command) for command in words]
        for namespace in (place.of(NEIGHBOUR), place.host("node-1"))
    )
    inside = ["\n".join(line for line in text.splitlines() if "eth0" not in line.split()) for text in node]
    return [self_free(text).replace(" tentative", "") for text in (*pod, *inside)]


def owners(place: Place, namespace: Path, mac: str) -> list[str]:
    """The IPv6 addresses that a host or a pod believes to be at a MAC address, on any device and in any state."""
    found = json.loads(place.inside(namespace, "ip", "-6", "-j", "neigh"))
    return sorted(item["dst"] for item in found if item.get("lladdr") == mac)


def test_a_pod_learns_no_router_and_has_no_other_address(place: Place) -> None:
    """The kernel gives it none, and the node's devices none either."""
    found = json.loads(place.inside(place.of(NEIGHBOUR), "ip", "-j", "-6", "addr", "show", "dev", "eth0"))
    assert [item["local"] for item in found[0]["addr_info"]] == [place.addresses(NEIGHBOUR)[6]]
    for device in ("pinnace0", "pinnace-vx"):
        found = json.loads(place.on("node-1", "ip", "-j", "-6", "addr", "show", "dev", device))
        assert [item["local"].startswith("fd00:10:244:") for item in found[0]["addr_info"]] == [True]


@FAMILIES
def test_a_pod_cannot_send_encapsulated_packets(place: Place, family: int) -> None:
    """Of either family inside, to the underlay of either."""
    details = json.loads(place.on("node-1", "ip", "-d", "-j", "link", "show", "pinnace-vx"))[0]["linkinfo"]["info_data"]
    inner = packet(family, place.addresses(NEIGHBOUR)[family], place.addresses(VICTIM)[family], b"forged")
    kind = frames.ETH_IPV6 if family == 6 else frames.ETH_IP
    payload = frames.vxlan(int(details["id"]), frames.ethernet(mac_of("node-1"), mac_of("node-2"), inner, kind))

    def send() -> None:
        targets = [*place.underlay("node-2").values(), place.gateway("node-2", family)]
        for source, addresses in ((place.of(ATTACKER), targets), (place.host("control"), targets[:2])):
            for address in addresses:
                frames.send_udp(source, (address, int(details["port"])), payload)

    assert place.received(VICTIM, family, send) == []


@FAMILIES
def test_outsiders_reach_no_pod_and_are_not_forwarded(place: Place, family: int) -> None:
    """The nodes forward for their pods only."""
    victim, node = place.addresses(VICTIM)[family], place.underlay("node-2")[family]
    for target, namespace in ((victim, place.of(VICTIM)), (node, place.host("node-2"))):
        way = [f"{target}/{32 if family == 4 else 128}", "via", place.underlay("node-1")[family]]
        place.on("control", "ip", "route", "add", *way)
        try:
            with frames.listening(namespace, target) as got:
                frames.send_udp(place.host("control"), (target, frames.PORT), b"through")
                assert got() == []
        finally:
            place.on("control", "ip", "route", "del", *way)


@FAMILIES
def test_a_host_that_is_no_node_cannot_send_in_a_pods_name(place: Place, family: int) -> None:
    """By way of either node, to the pod and to the node itself."""
    kind = frames.ETH_IPV6 if family == 6 else frames.ETH_IP
    nic = place.mac(place.host("control"))
    for node in ("node-1", "node-2"):
        for target, namespace in (
            (place.addresses(VICTIM)[family], place.of(VICTIM)),
            (place.underlay(node)[family], place.host(node)),
        ):
            forged = packet(family, place.addresses(NEIGHBOUR)[family], target, b"plain")
            with frames.listening(namespace, target) as got:
                frame = frames.ethernet(nic, place.mac(place.host(node)), forged, kind)
                frames.send_frame(place.host("control"), "eth0", frame)
                assert got() == []


# What stays


def test_agents_that_start_again_leave_the_network_as_it_is(place: Place) -> None:
    """Rules, routes and neighbours of both families; the pods keep their addresses."""

    def known() -> list[str]:
        words = (
            ("ip", "-6", "route"),
            ("ip", "-6", "neigh", "show", "nud", "permanent"),
            ("ip", "route"),
            ("ip", "-6", "-o", "addr"),
        )
        # The host's own link-local address may be new.
        return [self_free(place.on("node-1", *command)).replace(" tentative", "") for command in words]

    before = known()
    place.lab.kill("node-1")
    place.lab.start_agent("node-1")
    # The rules stay meanwhile; a report is of an agent that is back.
    eventually(lambda: place.lab.run("net", "verify").stdout.decode().strip().endswith("2 nodes as wanted, 0 with differences"))
    for family in (4, 6):
        test_pods_reach_each_other(place, NEIGHBOUR, family)
        test_pods_reach_each_other(place, VICTIM, family)
    assert known() == before
    after = place.lab.all_running([*PODS])
    assert [item["status"]["podIPs"] for item in after.values()] == [item["status"]["podIPs"] for item in place.pods.values()]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ip -6 route flush dev pinnace-vx proto 80", ("ip", "-6", "route")),
        (
            "ip -6 neigh flush dev pinnace-vx nud permanent",
            ("ip", "-6", "neigh", "show", "dev", "pinnace-vx", "nud", "permanent"),
        ),
        ("ip -6 neigh flush dev pinnace0 nud permanent", ("ip", "-6", "neigh", "show", "dev", "pinnace0", "nud", "permanent")),
        ("ip -6 addr flush dev pinnace0", ("ip", "-6", "-o", "addr", "show", "dev", "pinnace0")),
        ("sysctl -qw net.ipv6.conf.pinnace0.disable_ipv6=1", ("ip", "-6", "-o", "addr", "show", "dev", "pinnace0")),
        ("sysctl -qw net.ipv6.conf.all.forwarding=0", ("sysctl", "net.ipv6.conf.all.forwarding")),
        ("nft flush set bridge pinnace bindings6", ("nft", "list", "set", "bridge", "pinnace", "bindings6")),
    ],
)
def test_what_vanishes_of_ipv6_is_put_back(place: Place, command: str, words: tuple[str, ...]) -> None:
    """Within seconds, and pods reach each other again."""
    before = self_free(place.on("node-1", *words))
    agent = place.lab.pid("node-1")
    os.kill(agent, signal.SIGSTOP)
    try:
        place.on("node-1", *command.split())
        assert self_free(place.on("node-1", *words)) != before, "nothing was damaged"
    finally:
        os.kill(agent, signal.SIGCONT)
    eventually(lambda: self_free(place.on("node-1", *words)) == before, within=20)
    for target in (NEIGHBOUR, VICTIM):
        test_pods_reach_each_other(place, target, 6)


def test_the_attacks_work_without_the_rules(place: Place) -> None:
    """Last: the tables are deleted by hand without agents, which make them again when they start."""
    for node in ("node-1", "node-2"):
        place.lab.kill(node)
        for family in ("inet", "bridge", "arp"):
            place.on(node, "nft", "delete", "table", family, "pinnace")
    try:
        mac, victim = place.mac(place.of(ATTACKER)), place.addresses(VICTIM)[6]
        forged = frames.ipv6_udp(place.addresses(NEIGHBOUR)[6], victim, b"forged")
        assert b"forged" in place.received(VICTIM, 6, lambda: place.attack(forged))
        with frames.captured(place.of(NEIGHBOUR), "eth0") as got:
            place.attack(frames.neighbour_advertisement(place.gateway("node-1", 6), mac), ALL_NODES)
            frames.send_frame(place.of(ATTACKER), "eth0", frames.router_advertisement(mac))
            assert {frame[54] for frame in got() if is_discovery(frame) and frame[6:12] == frames.mac(mac)} == {134, 136}
    finally:
        for node in ("node-1", "node-2"):
            place.lab.start_agent(node)
    eventually(place.guarded)
    test_a_pod_cannot_send_from_its_neighbours_address(place, "IP address", 6)
