"""Which routes of the host are read, and how often."""

from __future__ import annotations

import subprocess

import pytest

from nodeagent.network import hostroutes
from nodeagent.network.hostroutes import HostRoutes
from nodeagent.network.nlsocket import NetlinkSocket
from tests.support.networks import alone

pytestmark = pytest.mark.root
CIDRS = ("10.244.0.0/14", "fd00:244::/48", "10.96.0.0/12")
INSIDE = {"10.244.0.0/14", "10.247.255.255/32", "10.100.0.0/16", "fd00:244::/48", "fd00:244:0:9::/64"}
OUTSIDE = {"10.0.0.0/8", "10.248.0.0/16", "10.243.0.0/16", "10.112.0.0/16", "fd00:245::/48", "fd00::/16", "2001:db8::/32"}


def shell(line: str) -> None:
    subprocess.run(["sh", "-ec", line], check=True, timeout=30)


def on_host(work: object) -> None:
    """Call a function with the host's routes, which has some inside of the ranges, outside of them, and wider ones."""

    def run() -> None:
        shell("ip link add dev0 type bridge; ip link set dev0 up; ip route add default dev dev0")
        for number, dst in enumerate(sorted(INSIDE | OUTSIDE)):
            shell(f"ip route add {dst} dev dev0 table {254 + number % 3 * 500}")
        with NetlinkSocket() as route:
            work(HostRoutes(route))  # type: ignore[operator]

    alone(run)


def test_routes_inside_of_the_ranges_are_read() -> None:
    """Of all tables and both address families, also one that is the range itself."""

    def work(routes: HostRoutes) -> None:
        assert {item.dst for item in routes.inside(CIDRS, thorough=False)} == INSIDE
        assert {item.dst for item in routes.inside(CIDRS[:1], thorough=False)} == {"10.244.0.0/14", "10.247.255.255/32"}

    on_host(work)


def test_many_routes_are_read_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """In proportion to their number; at once for other ranges, and where a user asks for it."""

    def work(routes: HostRoutes) -> None:
        def found(*, thorough: bool = False) -> bool:
            return "10.244.9.0/24" in {item.dst for item in routes.inside(CIDRS, thorough=thorough)}

        assert not found()
        shell("ip route add 10.244.9.0/24 dev dev0")
        assert [found() for _ in range(4)] == [False, False, False, True]
        shell("ip route del 10.244.9.0/24")
        assert [found(), found(thorough=True), found()] == [True, False, False]
        shell("ip route add 10.244.9.0/24 dev dev0")
        assert "10.244.9.0/24" in {item.dst for item in routes.inside(CIDRS[:1], thorough=False)}

    # Of 13 routes, and those of the kernel.
    monkeypatch.setattr(hostroutes, "AT_ONCE", 5)
    on_host(work)
