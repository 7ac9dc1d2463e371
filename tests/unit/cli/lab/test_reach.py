"""The routes by which this machine reaches a lab, and what it must not take over."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from cli.lab import faultrecord, reach, uplink
from cli.lab.layout import Fault, Lab
from cli.lab.links import Link, Route
from tests.support.objects import node

LINK = Link(IPv4Network("198.18.0.0/30"))


def lab(*control_args: str) -> Lab:
    return Lab("x", {"node-1": 1, "node-2": 2}, control_args=list(control_args), reach=True)


def test_pods_are_reached_through_their_node_and_services_through_one_that_runs() -> None:
    pods = {"node-1": "10.244.1.0/24", "node-2": "10.244.0.0/24", "gone": "10.244.7.0/24"}
    assert reach.pod_routes(lab(), pods) == [
        "route flush proto 80",
        "route add 10.244.1.0/24 via 198.51.100.11 proto 80",
        "route add 10.244.0.0/24 via 198.51.100.12 proto 80",
    ]
    assert reach.service_route(lab(), ["node-2"]) == ["route replace 10.96.0.0/12 via 198.51.100.12 proto 80"]
    assert reach.service_route(lab(), []) == []


def test_a_host_is_cut_off_by_a_cut_of_its_own_only() -> None:
    """A cut between two hosts leaves both connected with the rest."""
    found = lab()
    found.faults = [Fault("cut", ("node-1", "control")), Fault("freeze", ("node-1",)), Fault("cut", ("node-2",))]
    assert faultrecord.cut_off(found) == {"node-2"}


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ((), "10.244.0.0/16"),
        (("--cluster-cidr=10.50.0.0/16",), "10.50.0.0/16"),
        (("--cluster-cidr", "fd00::/48,10.50.0.0/16"), "10.50.0.0/16"),
    ],
)
def test_the_range_is_that_of_the_control_plane(flag: tuple[str, ...], expected: str) -> None:
    lines, warnings = reach.machine_routes(lab(*flag), LINK, [])
    assert f"route add {expected} via 198.18.0.2 dev pnl-x proto 80" in lines
    assert warnings == []


def test_a_route_of_the_machine_is_never_replaced() -> None:
    """Also one that is more or less exact; a default route is no clash."""
    present = [Route(IPv4Network("0.0.0.0/0"), "eth0"), Route(IPv4Network("10.96.0.0/16"), "vpn0")]
    lines, warnings = reach.machine_routes(lab(), LINK, present)
    assert not [line for line in lines if "10.96" in line]
    assert warnings == [
        "this machine cannot reach the lab's Services (10.96.0.0/12), for it has the route 10.96.0.0/16 dev vpn0"
    ]


def test_the_pod_cidr_of_a_node_is_the_ipv4_one() -> None:
    both, none = node("node-1"), node("node-2")
    both.spec.podCIDR = "fd00:1::/64"
    both.spec.podCIDRs.extend(["fd00:1::/64", "10.244.1.0/24"])
    assert reach.pod_cidrs([both, none]) == {"node-1": "10.244.1.0/24"}


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--cluster-cidr= 10.50.0.0/16", "10.50.0.0/16"),
        ("--cluster-cidr=fd00::/48, 10.50.0.0/16", "10.50.0.0/16"),
        ("--cluster-cidr=10.50.0.0/255.255.0.0", "10.50.0.0/16"),
        ("--cluster-cidr=fd00::/48", ""),
        ("--cluster-cidr=nonsense", ""),
    ],
)
def test_a_range_is_read_as_the_control_plane_reads_it(flag: str, expected: str) -> None:
    """With spaces and masks; of IPv6 ranges, and of errors that the control plane reports, there is no IPv4 range."""
    assert lab(flag).cluster_cidr == expected


def test_pods_without_ipv4_addresses_are_not_reached() -> None:
    """The underlay is IPv4 nevertheless: one warning for pods, one for Services, and no route without a destination."""
    ipv6 = lab("--cluster-cidr=fd00:10:244::/56", "--service-cluster-ip-range=fd00:10:96::/112")
    lines, warnings = reach.machine_routes(ipv6, LINK, [])
    assert lines == ["route flush dev pnl-x proto 80", "route add 198.51.100.0/24 via 198.18.0.2 dev pnl-x proto 80"]
    assert warnings == [
        f"this machine cannot reach the lab's {what}, for they have no IPv4 addresses" for what in ("pods", "Services")
    ]
    assert reach.service_route(ipv6, ["node-1"]) == []
    assert uplink.hidden(ipv6, [Route(IPv4Network("10.0.0.0/8"), "eth0")]) == []


@pytest.mark.parametrize(
    ("network", "text", "fix"),
    [
        ("198.51.100.0/25", "198.51.100.0/24", ""),
        ("10.244.7.0/24", "10.244.0.0/16", " (another range for pods: kctl lab up --control-arg=--cluster-cidr=CIDR)"),
        ("10.100.0.0/16", "10.96.0.0/12",
         " (another range for Services: kctl lab up --control-arg=--service-cluster-ip-range=CIDR)"),
    ],
)  # fmt: skip
def test_networks_of_this_machine_that_pods_cannot_reach_are_named(network: str, text: str, fix: str) -> None:
    """Nodes reject packets to addresses of the Service CIDR that no Service has."""
    assert uplink.hidden(lab(), [Route(IPv4Network(network), "eth0")]) == [
        f"pods cannot reach this machine's network {network} dev eth0, for {text} is the lab's own{fix}"
    ]
