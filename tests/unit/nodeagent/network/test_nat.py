"""Address translation of a node as a whole table: outbound traffic, and host ports."""

from __future__ import annotations

from nodeagent.network import nat
from nodeagent.network.interface import HostPort, Node
from tests.support.nft import lines

NODE = Node("10.244.1.0/24", ("10.244.0.0/16", "10.96.0.0/12"), "192.0.2.1", "0a:00:00:00:00:01", 7, 4789)
JUMP = "fib daddr type == local jump hostports"


def table(*ports: HostPort) -> list[str]:
    return lines(nat.rules(NODE, "br0", ports))


def test_traffic_out_of_the_cluster_takes_the_nodes_address() -> None:
    """That within the cluster keeps the pod's; the chain accepts what no rule names."""
    assert [line for line in table() if "postrouting" in line] == [
        "add chain ip postrouting nat postrouting 100 accept",
        "postrouting: ip saddr == 10.244.1.0/24 ip daddr != 10.244.0.0/16 ip daddr != 10.96.0.0/12 meta oifname != br0 masquerade",
        "postrouting: ip saddr == 10.244.1.0/24 ct status in dnat masquerade",
        "postrouting: ip saddr == 127.0.0.0/8 meta oifname == br0 masquerade",
    ]


def test_a_host_port_is_looked_up_for_local_addresses_only() -> None:
    """For packets from outside and for those of the node's own processes; the more exact map first."""
    found = table(HostPort("tcp", "", 8080, "10.244.1.5", 80), HostPort("udp", "192.0.2.1", 53, "10.244.1.6", 5353))
    assert [line for line in found if "postrouting" not in line] == [
        "add chain ip hostports",
        "add map ip address_at ipv4_addr . inet_proto . inet_service : ipv4_addr { 192.0.2.1 . udp . 53 : 10.244.1.6 }",
        "add map ip port_at ipv4_addr . inet_proto . inet_service : inet_service { 192.0.2.1 . udp . 53 : 5353 }",
        "hostports: dnat to ip daddr . meta l4proto . th dport map @address_at , ip daddr . meta l4proto . th dport map @port_at",
        "add map ip address inet_proto . inet_service : ipv4_addr { tcp . 8080 : 10.244.1.5 }",
        "add map ip port inet_proto . inet_service : inet_service { tcp . 8080 : 80 }",
        "hostports: dnat to meta l4proto . th dport map @address , meta l4proto . th dport map @port",
        "add chain ip prerouting nat prerouting -100 accept",
        f"prerouting: {JUMP}",
        "add chain ip output nat output -100 accept",
        f"output: {JUMP}",
    ]


def test_a_node_without_host_ports_has_empty_maps() -> None:
    """An empty list of elements is a syntax error to libnftables."""
    maps = [command["add"]["map"] for command in nat.rules(NODE, "br0", ()) if "map" in command["add"]]
    assert [(item["name"], "elem" in item) for item in maps] == [
        ("address_at", False), ("port_at", False), ("address", False), ("port", False)
    ]  # fmt: skip


def test_the_first_pod_keeps_a_host_port_that_two_have() -> None:
    """As when the second one is admitted by mistake: neither the table nor the first pod's port is lost."""
    found = table(HostPort("tcp", "", 8080, "10.244.1.5", 80), HostPort("tcp", "", 8080, "10.244.1.6", 81))
    assert "add map ip address inet_proto . inet_service : ipv4_addr { tcp . 8080 : 10.244.1.5 }" in found
    assert "add map ip port inet_proto . inet_service : inet_service { tcp . 8080 : 80 }" in found
