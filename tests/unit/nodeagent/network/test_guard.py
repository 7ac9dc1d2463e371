"""What a node does not accept, as whole tables: each rule is one line, and the order of lines decides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodeagent.network import guard, vxlan
from nodeagent.network.guard import Binding
from nodeagent.network.interface import Node
from tests.support.nft import lines

NODE = Node("10.244.1.0/24", ("10.244.0.0/16",), "192.0.2.1", "0a:00:00:00:00:01", 7, 4789)
WEB = Binding("pnc1", "0a:58:0a:f4:01:05", "10.244.1.5")
OTHER = Binding("pnc0", "0a:58:0a:f4:01:06", "10.244.1.6")
ENCAPSULATED = "udp dport == 4789 @th,96,24 == 7"
INSIDE = f"{{ br0, {vxlan.DEVICE} }}"


def test_a_pods_port_sends_from_its_own_addresses_only() -> None:
    """IPv4 and ARP, of which both sender addresses count; all else, IPv6 too, is dropped. No ARP from port to port."""
    assert lines(guard.bridge_rules("pinnace", "pnc", [WEB, OTHER])) == [
        "add table bridge pinnace",
        "delete table bridge pinnace",
        "add table bridge pinnace",
        "add set bridge bindings ['ifname', 'ether_addr', 'ipv4_addr'] "
        "{ pnc0 . 0a:58:0a:f4:01:06 . 10.244.1.6, pnc1 . 0a:58:0a:f4:01:05 . 10.244.1.5 }",
        "add chain bridge pod",
        "pod: meta iifname . ether saddr . ip saddr == @bindings accept",
        "pod: meta iifname . ether saddr . arp saddr ip == @bindings meta iifname . arp saddr ether . arp saddr ip == @bindings accept",
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


def test_encapsulated_packets_come_from_peers_only() -> None:
    """Not from pods, nor from a process of the node; and no pod reaches the node's 127.0.0.0/8."""
    assert lines(guard.node_rules("pinnace", NODE, "br0", ["192.0.2.3", "192.0.2.2", "192.0.2.3"], router=False)) == [
        "add set ip peers ipv4_addr { 192.0.2.2, 192.0.2.3 }",
        "add chain ip guard filter prerouting -300 accept",
        "guard: meta iifname == pnc* drop",
        f"guard: meta iifname == {INSIDE} ip daddr == 127.0.0.0/8 drop",
        f"guard: meta iifname != {{ br0, {vxlan.DEVICE}, lo }} ip saddr == 10.244.0.0/16 drop",
        f"guard: {ENCAPSULATED} meta iifname == {INSIDE} drop",
        f"guard: {ENCAPSULATED} fib daddr type != unicast ip saddr != @peers drop",
        "add chain ip sent filter output 0 accept",
        f"sent: {ENCAPSULATED} meta skuid >= 0 drop",
    ]


@pytest.mark.parametrize("router", [False, True])
def test_every_pod_cidr_is_refused_as_a_sender_from_outside(router: bool) -> None:
    """On hosts that forwarded before the agent came, too."""
    node = replace(NODE, cluster_cidrs=("10.244.0.0/16", "10.245.0.0/16"))
    found = [line for line in lines(guard.node_rules("pinnace", node, "br0", [], router=router)) if "ip saddr == " in line]
    elsewhere = f"guard: meta iifname != {{ br0, {vxlan.DEVICE}, lo }}"
    assert found == [f"{elsewhere} ip saddr == 10.244.0.0/16 drop", f"{elsewhere} ip saddr == 10.245.0.0/16 drop"]


def test_a_host_whose_forwarding_the_agent_has_enabled_is_no_router() -> None:
    """Nothing passes from outside to outside, and a new connection reaches a pod through a host port only."""
    without = lines(guard.node_rules("pinnace", NODE, "br0", [], router=False))
    found = lines(guard.node_rules("pinnace", NODE, "br0", [], router=True))
    assert found[: len(without)] == without
    assert found[len(without) :] == [
        "add chain ip forward filter forward 0 accept",
        f"forward: meta iifname != {INSIDE} meta oifname != {INSIDE} drop",
        f"forward: meta iifname != {INSIDE} meta oifname == {INSIDE} ct state != {{ established, related }} "
        "(ct status & dnat) == 0 drop",
    ]


@pytest.mark.parametrize(
    ("peers", "expected"),
    [([], []), (["192.0.2.3", "192.0.2.2"], ["add element ip peers { 192.0.2.2, 192.0.2.3 }"])],
)
def test_peers_are_replaced(peers: list[str], expected: list[str]) -> None:
    """A node that has left is no longer believed; with none left, no empty list of elements is sent."""
    assert lines(guard.set_peers("pinnace", peers)) == ["flush set ip peers", *expected]
