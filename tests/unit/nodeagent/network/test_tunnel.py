"""The WireGuard device compared with what it should be. Its peers: test_wireguard; the kernel's: tests/e2e/test_encryption."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodeagent.network import links, rtnetlink, tunnel
from nodeagent.network.interface import Deviation
from nodeagent.network.links import Link
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.rtnetlink import Route
from tests.support.networks import alone

LINK = Link(7, "pinnace-wg", "", 1440, 0, "", {}, "wireguard", up=True)
ROUTE = Route("fd70:6e63::/32", oif=7)


@pytest.mark.parametrize(
    ("link", "route", "item", "wanted", "actual"),
    [
        (replace(LINK, kind="dummy"), ROUTE, "pinnace-wg", "wireguard", "dummy"),
        (replace(LINK, kind=""), ROUTE, "pinnace-wg", "wireguard", "physical"),
        (replace(LINK, up=False), ROUTE, "pinnace-wg state", "up", "down"),
        (replace(LINK, mtu=1500), ROUTE, "pinnace-wg mtu", "1440", "1500"),
        (LINK, replace(ROUTE, oif=2), "pinnace-wg route", "fd70:6e63::/32", ""),
        (LINK, replace(ROUTE, type=rtnetlink.BLACKHOLE), "pinnace-wg route", "fd70:6e63::/32", ""),
        (LINK, replace(ROUTE, table=100), "pinnace-wg route", "fd70:6e63::/32", ""),
        (LINK, replace(ROUTE, dst="::/0"), "pinnace-wg route", "fd70:6e63::/32", ""),
    ],
)  # fmt: skip
def test_a_device_that_differs_is_told(link: Link, route: Route, item: str, wanted: str, actual: str) -> None:
    """Its kind, whether it is up, its MTU, and its route, which the kernel does not restore."""
    assert tunnel.differences(link, [Route("::/0", oif=2), route], mtu=1440) == [Deviation("tunnel", item, wanted, actual)]


def test_a_device_as_it_should_be() -> None:
    """The kernel's route counts as well as the agent's."""
    for route in (ROUTE, replace(ROUTE, protocol=2, priority=256)):
        assert tunnel.differences(LINK, [route], mtu=1440) == []


@pytest.mark.root
def test_only_routes_to_tunnels_are_read() -> None:
    """Of a router's many others not one is decoded."""

    def work() -> list[str]:
        with NetlinkSocket() as kernel:
            kernel.run(links.change(1, up=True))
            for cidr in ("fd70:6e63::/32", "fd70:6e63::/33", "fd70:6e63:1::/48", "2001:db8::/32", "::/0"):
                kernel.run(rtnetlink.add_route(Route(cidr, oif=1)))
            return [item.dst for item in tunnel._routes(kernel)]

    assert alone(work) == ["fd70:6e63::/32"]
