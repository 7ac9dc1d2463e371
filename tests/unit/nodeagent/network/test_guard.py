"""What a node does not accept, as whole tables: each rule is one line, and the order of lines decides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodeagent.network import guard, vxlan
from nodeagent.network.elements import Element
from nodeagent.network.guard import Binding
from nodeagent.network.interface import Node
from pinnace.ipfamilies import Family
from tests.support.nft import lines

NODE = Node(("10.244.1.0/24",), ("10.244.0.0/16",), "192.0.2.1", "0a:00:00:00:00:01", 7, 4789)
WEB = Binding("pnc1", "0a:58:0a:f4:01:05", "10.244.1.5")
WEB6 = replace(WEB, address="fd00:244:0:1::5")
OTHER = Binding("pnc0", "0a:58:0a:f4:01:06", "10.244.1.6")
DUAL = replace(NODE, pod_cidrs=(*NODE.pod_cidrs, "fd00:244:0:1::/64"), cluster_cidrs=(*NODE.cluster_cidrs, "fd00:244::/48"))
ENCAPSULATED = "udp dport 4789 @th,96,24 7"
INSIDE = f'{{ "br0", "{vxlan.DEVICE}" }}'
OWN = f'{{ "br0", "{vxlan.DEVICE}", "lo" }}'


def test_a_pods_port_sends_from_its_own_addresses_only() -> None:
    """IP to the bridge, and ARP, of which both sender addresses count; all else is dropped, tagged frames first, and neighbour discovery of
    IPv6. No ARP from port to port."""
    assert lines(guard.bridge_rules("pinnace", "pnc", [WEB, OTHER, WEB6], mac="0a:58:0a:f4:01:01")) == [
        "add table bridge pinnace",
        "delete table bridge pinnace",
        "add table bridge pinnace",
        "add set bridge bindings ['ifname', 'ether_addr', 'ipv4_addr'] "
        "{ pnc0 . 0a:58:0a:f4:01:06 . 10.244.1.6, pnc1 . 0a:58:0a:f4:01:05 . 10.244.1.5 }",
        "add set bridge bindings6 ['ifname', 'ether_addr', 'ipv6_addr'] { pnc1 . 0a:58:0a:f4:01:05 . fd00:244:0:1::5 }",
        "add chain bridge pod",
        "pod: ether type != { ip, ip6, arp } drop",
        "pod: ether daddr != 0a:58:0a:f4:01:01 meta protocol == { ip, ip6 } drop",
        "pod: meta iifname . ether saddr . ip saddr == @bindings accept",
        "pod: meta iifname . ether saddr . arp saddr ip == @bindings meta iifname . arp saddr ether . arp saddr ip == @bindings accept",
        "pod: icmpv6 type == { 130-137, 141-143, 148-149 } drop",
        "pod: meta iifname . ether saddr . ip6 saddr == @bindings6 accept",
        "pod: drop",
        "add chain bridge from filter prerouting -300 accept",
        "from: meta iifname == pnc* jump pod",
        "add chain bridge forward filter forward 0 accept",
        "forward: meta iifname == pnc* meta protocol == arp drop",
    ]


def test_a_binding_is_added_and_removed_by_itself() -> None:
    """A removal cannot fail for want of the element."""
    element = "element bridge bindings { pnc1 . 0a:58:0a:f4:01:05 . 10.244.1.5 }"
    assert lines(guard.bind("pinnace", WEB)) == [f"add {element}"]
    assert lines(guard.unbind("pinnace", WEB)) == [f"add {element}", f"delete {element}"]
    element6 = "element bridge bindings6 { pnc1 . 0a:58:0a:f4:01:05 . fd00:244:0:1::5 }"
    assert lines(guard.unbind("pinnace", WEB6)) == [f"add {element6}", f"delete {element6}"]


def rules(node: Node = NODE, *, routed: tuple[Family, ...] = ()) -> list[str]:
    """The fragment's lines without indentation."""
    lines = [line.strip() for line in guard.fragment(node, "br0", routed=routed).text.strip().splitlines()]
    return [line for line in lines if not line.startswith("#")]


def test_encapsulated_packets_come_from_peers_only() -> None:
    """Not from pods, nor from a process of the node; and no pod reaches the node's 127.0.0.0/8."""
    assert rules() == [
        "set peers_4 { type ipv4_addr; }",
        "set peers_6 { type ipv6_addr; }",
        "chain guard {",
        "type filter hook prerouting priority -300; policy accept;",
        'iifname "pnc*" drop',
        f"meta nfproto ipv6 iifname {INSIDE} drop",
        f"iifname {INSIDE} ip daddr 127.0.0.0/8 drop",
        f"iifname != {OWN} ip saddr 10.244.0.0/16 drop",
        f"iifname {INSIDE} {ENCAPSULATED} drop",
        f"{ENCAPSULATED} ip daddr 192.0.2.1 ip saddr @peers_4 notrack accept",
        f"{ENCAPSULATED} fib daddr type != unicast ip saddr != @peers_4 drop",
        f"{ENCAPSULATED} fib daddr type != unicast ip6 saddr != @peers_6 drop",
        "}",
        "",
        "chain guard_own {",
        "type filter hook output priority 0; policy accept;",
        "ip daddr 10.244.0.0/16 meta mark set meta mark | 0x01000000",
        "}",
        "chain guard_sent {",
        "type filter hook output priority -300; policy accept;",
        f"{ENCAPSULATED} meta mark & 0x01000000 == 0 meta skuid >= 0 drop",
        f"{ENCAPSULATED} notrack",
        "}",
    ]


@pytest.mark.parametrize("routed", [(), (4,)])
def test_every_pod_cidr_is_refused_as_a_sender_from_outside(routed: tuple[Family, ...]) -> None:
    """On hosts that forwarded before the agent came, too."""
    node = replace(NODE, cluster_cidrs=("10.244.0.0/16", "10.245.0.0/16"))
    found = [line for line in rules(node, routed=routed) if "ip saddr 10" in line]
    assert found == [f"iifname != {OWN} ip saddr 10.244.0.0/16 drop", f"iifname != {OWN} ip saddr 10.245.0.0/16 drop"]


def test_a_host_whose_forwarding_the_agent_has_enabled_is_no_router() -> None:
    """Nothing passes from outside to outside, and nothing new reaches a pod, but what a host port or a Service translates."""
    without, found = rules(), rules(routed=(4,))
    assert found[: len(without)] == without
    assert found[len(without) + 1 :] == [
        "chain guard_forward {",
        "type filter hook forward priority 0; policy accept;",
        f"meta nfproto ipv4 iifname != {INSIDE} oifname != {INSIDE} ct status & dnat == 0 drop",
        f"meta nfproto ipv4 iifname != {INSIDE} oifname {INSIDE} ct state != {{ established, related }} ct status & dnat == 0 drop",
        "}",
    ]
    both = [line for line in rules(DUAL, routed=(4, 6)) if "oifname" in line]
    assert [line.replace("ipv6", "ipv4") for line in both[2:]] == both[:2] == found[len(without) + 3 : -1]


def test_ipv6_senders_are_behind_their_device() -> None:
    """Of the node's own pods on the bridge, of other nodes' in the overlay; no pod's anywhere else. IPv4 has the kernel's filter."""
    assert [line for line in rules(DUAL) if "ip6 saddr" in line and "udp" not in line] == [
        f"iifname != {OWN} ip6 saddr fd00:244::/48 drop",
        'iifname "br0" ip6 saddr != fd00:244:0:1::/64 drop',
        f'iifname "{vxlan.DEVICE}" ip6 saddr fd00:244:0:1::/64 drop',
        f'iifname "{vxlan.DEVICE}" ip6 saddr != fd00:244::/48 drop',
    ]


def test_a_family_that_pods_do_not_have_is_dropped() -> None:
    """On the bridge and in the overlay."""
    only = {4: NODE, 6: replace(DUAL, pod_cidrs=DUAL.pod_cidrs[1:])}
    dropped = {family: [line for line in rules(node) if "nfproto" in line] for family, node in only.items()}
    assert dropped == {4: [f"meta nfproto ipv6 iifname {INSIDE} drop"], 6: [f"meta nfproto ipv4 iifname {INSIDE} drop"]}
    assert not [line for line in rules(DUAL) if "nfproto" in line]


def test_encapsulated_packets_of_an_encrypted_cluster_come_out_of_the_tunnels() -> None:
    """Before peers are accepted; those that only pass through are not ours."""
    found = rules(replace(NODE, encrypt=True))
    rule = f'{ENCAPSULATED} iifname != "pinnace-wg" fib daddr type != unicast drop'
    assert found.index(rule) < next(at for at, line in enumerate(found) if "notrack accept" in line)
    assert not any("pinnace-wg" in line for line in rules())


def test_encapsulated_packets_of_an_encrypted_cluster_leave_by_the_tunnels() -> None:
    """Of this node alone, and once it is known by which device."""
    found = rules(replace(NODE, address="fd70:6e63::1", encrypt=True))
    start = found.index("chain guard_encrypted {")
    assert found[start + 1 : start + 3] == [
        "type filter hook postrouting priority -300; policy accept;",
        f'ip6 saddr fd70:6e63::1 {ENCAPSULATED} oifname != "pinnace-wg" drop',
    ]


def test_networks_that_may_reach_pods_are_named() -> None:
    """Packets from there are forwarded to pods, and to nothing else."""
    text = guard.fragment(NODE, "br0", routed=(4,), reachable_from=("198.51.100.254/32",)).text
    assert f"iifname != {INSIDE} oifname {INSIDE} ip saddr 198.51.100.254/32 accept" in text
    assert "198.51.100.254" not in guard.fragment(NODE, "br0", routed=(), reachable_from=("198.51.100.254/32",)).text


def test_a_peer_is_one_element() -> None:
    assert guard.peers(["192.0.2.3", "192.0.2.2", "192.0.2.3"]) == [
        Element("peers_4", ("192.0.2.2",)), Element("peers_4", ("192.0.2.3",))
    ]  # fmt: skip
