"""Address translation of a node: the rules for outbound traffic, and the elements of host ports."""

from __future__ import annotations

from dataclasses import replace

from nodeagent.network import nat
from nodeagent.network.elements import Element
from nodeagent.network.interface import HostPort, Node

NODE = Node(("10.244.1.0/24",), ("10.244.0.0/16", "10.245.0.0/16"), "192.0.2.1", "0a:00:00:00:00:01", 7, 4789)


def chain(name: str) -> list[str]:
    """The rules of one chain."""
    lines = [line.strip() for line in nat.fragment(NODE, "br0").text.splitlines()]
    start = lines.index(f"chain {name} {{") + 1
    return [line for line in lines[start : lines.index("}", start)] if not line.startswith("#")]


def test_traffic_out_of_the_cluster_takes_the_nodes_address() -> None:
    """That within the cluster keeps the pod's, but for a pod that reaches itself."""
    assert chain("outbound") == [
        "type nat hook postrouting priority 100; policy accept;",
        'ip saddr 10.244.1.0/24 ip daddr != 10.244.0.0/16 ip daddr != 10.245.0.0/16 oifname != "br0" masquerade',
        "ip saddr . ip daddr @hostports_hairpin_4 ct status dnat masquerade",
        "ip6 saddr . ip6 daddr @hostports_hairpin_6 ct status dnat masquerade",
        'ip saddr 127.0.0.0/8 oifname "br0" masquerade',
    ]


def test_a_host_port_is_looked_up_for_local_addresses_only() -> None:
    """But those of load balancers. For packets from outside and for those of the node's own processes; the more exact map first."""
    for name, hook in (("hostports_received", "prerouting"), ("hostports_sent", "output")):
        assert chain(name) == [
            f"type nat hook {hook} priority -100; policy accept;",
            "fib daddr type local ip daddr != @balanced_4 jump hostports_4",
            f"fib daddr type local ip6 daddr != @balanced_6 {'ip6 saddr != ::1 ' if hook == 'output' else ''}jump hostports_6",
        ]
    for family, header in ((4, "ip"), (6, "ip6")):
        assert chain(f"hostports_{family}") == [
            f"dnat {header} to {header} daddr . meta l4proto . th dport map @hostports_at_{family}",
            f"dnat {header} to meta l4proto . th dport map @hostports_{family}",
        ]


def test_each_host_port_is_one_element_and_each_pod_another() -> None:
    ports = [
        HostPort("tcp", "", 8080, "10.244.1.5", 80), HostPort("udp", "192.0.2.1", 53, "10.244.1.6", 5353),
        HostPort("tcp", "", 8443, "10.244.1.5", 443),
    ]  # fmt: skip
    assert nat.elements(ports) == [
        Element("hostports_4", ("tcp", "8080"), ("10.244.1.5", "80")),
        Element("hostports_at_4", ("192.0.2.1", "udp", "53"), ("10.244.1.6", "5353")),
        Element("hostports_4", ("tcp", "8443"), ("10.244.1.5", "443")),
        Element("hostports_hairpin_4", ("10.244.1.5", "10.244.1.5")),
        Element("hostports_hairpin_4", ("10.244.1.6", "10.244.1.6")),
    ]


def test_host_ports_of_both_families_are_in_maps_of_their_own() -> None:
    """A port of any address is one of each family."""
    ports = [HostPort("tcp", "", 8080, address, 80) for address in ("10.244.1.5", "fd00:244:0:1::5")]
    assert nat.elements([*ports, HostPort("udp", "fd00:1::1", 53, "fd00:244:0:1::5", 53)]) == [
        Element("hostports_4", ("tcp", "8080"), ("10.244.1.5", "80")),
        Element("hostports_6", ("tcp", "8080"), ("fd00:244:0:1::5", "80")),
        Element("hostports_at_6", ("fd00:1::1", "udp", "53"), ("fd00:244:0:1::5", "53")),
        Element("hostports_hairpin_4", ("10.244.1.5", "10.244.1.5")),
        Element("hostports_hairpin_6", ("fd00:244:0:1::5", "fd00:244:0:1::5")),
    ]


def test_ipv6_traffic_out_of_the_cluster_takes_the_nodes_address() -> None:
    node = replace(NODE, pod_cidrs=("10.244.1.0/24", "fd00:244:0:1::/64"), cluster_cidrs=("10.244.0.0/16", "fd00:244::/48"))
    text = nat.fragment(node, "br0").text
    assert 'ip6 saddr fd00:244:0:1::/64 ip6 daddr != fd00:244::/48 oifname != "br0" masquerade' in text
    assert 'ip saddr 10.244.1.0/24 ip daddr != 10.244.0.0/16 oifname != "br0" masquerade' in text


def test_the_first_pod_keeps_a_host_port_that_two_have() -> None:
    """As when the second one is admitted by mistake: neither the table nor the first pod's port is lost."""
    found = nat.elements([HostPort("tcp", "", 8080, "10.244.1.5", 80), HostPort("tcp", "", 8080, "10.244.1.6", 81)])
    assert found == [
        Element("hostports_4", ("tcp", "8080"), ("10.244.1.5", "80")),
        Element("hostports_hairpin_4", ("10.244.1.5", "10.244.1.5")),
    ]
