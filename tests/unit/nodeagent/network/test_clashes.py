"""What of a host is in the way of the node's network is named."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from nodeagent.network import clashes
from nodeagent.network.interface import Node
from nodeagent.network.links import Link
from nodeagent.network.rtnetlink import Address, Route

NODE = replace(
    Node(("10.244.1.0/24",), ("10.244.0.0/16",), "192.0.2.1", "0a:00:00:00:00:01", 7, 4789), service_cidrs=("10.96.0.0/12",)
)
LO = Link(1, "lo", "", 65536, 0, "", {})
ETH0, OURS = Link(2, "eth0", "", 1500, 0, "", {}), Link(3, "pinnace0", "", 1450, 0, "", {}, kind="bridge")
OTHER = Link(4, "flannel.1", "", 1450, 0, "", {1: struct.pack("=I", 7), 15: struct.pack("!H", 4789)}, kind="vxlan")


def found(*, links: tuple[Link, ...] = (), addresses: tuple[Address, ...] = (), routes: tuple[Route, ...] = ()) -> str:
    return clashes.find(NODE, (LO, ETH0, OURS, *links), addresses, routes)


@pytest.mark.parametrize(
    ("route", "said"),
    [
        (Route("10.244.3.0/24", oif=2), "the pod CIDR 10.244.0.0/16 has the host's route 10.244.3.0/24 dev eth0"),
        (Route("10.244.0.0/16", "192.0.2.9", 2), "the pod CIDR 10.244.0.0/16 has the host's route 10.244.0.0/16 via 192.0.2.9 dev eth0"),
        (Route("10.100.0.0/16", oif=2), "the Service CIDR 10.96.0.0/12 has the host's route 10.100.0.0/16 dev eth0"),
        (Route("10.244.3.0/24", oif=2, protocol=80), "the pod CIDR 10.244.0.0/16 has the host's route 10.244.3.0/24 dev eth0"),
        (Route("10.244.9.0/24", type=6), "has the host's route blackhole 10.244.9.0/24"),
    ],
)  # fmt: skip
def test_a_route_inside_of_a_range(route: Route, said: str) -> None:
    assert said in found(routes=(route,))


def test_an_address_inside_of_a_range() -> None:
    assert found(addresses=(Address(2, "10.244.7.7", 8),)).startswith(
        "the pod CIDR 10.244.0.0/16 has the host's address 10.244.7.7 (dev eth0)"
    )


def test_the_nodes_own_address_inside_of_a_range() -> None:
    """Also one of `lo`, where those of the cluster DNS are none."""
    node = replace(NODE, address="10.96.0.77")
    said = "the Service CIDR 10.96.0.0/12 has this node's address 10.96.0.77: choose another range"
    assert clashes.find(node, (LO, ETH0), (Address(1, "10.96.0.77", 32),), ()) == said


def test_another_device_with_the_vni_or_a_name() -> None:
    assert found(links=(OTHER,)) == "VNI 7 on port 4789 is that of the host's device flannel.1: choose another VNI or port"
    assert "device pinnace-vx, which is no vxlan but dummy" in found(links=(replace(OTHER, name="pinnace-vx", kind="dummy"),))
    tunnel = replace(OTHER, name="pinnace-wg", kind="dummy")
    assert found(links=(tunnel,)) == ""
    encrypted = clashes.find(replace(NODE, encrypt=True), (LO, ETH0, tunnel), (), ())
    assert "device pinnace-wg, which is no wireguard but dummy" in encrypted


def test_ours_and_wider_routes_are_no_clash() -> None:
    routes = (
        Route("10.0.0.0/8", "192.0.2.9", 2), Route("0.0.0.0/0", "192.0.2.9", 2), Route("10.244.1.0/24", oif=3),
        Route("10.244.0.0/16", type=6, protocol=80), Route("10.244.1.1/32", oif=2, type=2), Route("fd00::/8", oif=2),
    )  # fmt: skip
    addresses = (Address(3, "10.244.1.1", 24), Address(1, "10.96.0.10", 32), Address(2, "192.0.2.1", 24))
    assert found(links=(replace(OTHER, name="pinnace-vx"),), addresses=addresses, routes=routes) == ""


def test_the_resolvers_ipv6_address_is_no_clash() -> None:
    """On `lo`, where the kernel makes a route to it; a network there that is routed is one."""
    node = replace(
        NODE, pod_cidrs=("fd00:10:244:1::/64",), cluster_cidrs=("fd00:10:244::/56",), service_cidrs=("fd00:10:96::/112",)
    )

    def said(*routes: Route) -> str:
        return clashes.find(node, (LO, ETH0), (Address(1, "fd00:10:96::a", 128),), routes)

    assert said(Route("fd00:10:96::a/128", oif=1, protocol=2)) == ""
    assert "fd00:10:96::/120 dev lo" in said(Route("fd00:10:96::/120", oif=1, protocol=2))
    assert "fd00:10:96::b/128 dev eth0" in said(Route("fd00:10:96::b/128", oif=2, protocol=2))
