"""The link network of an uplink: free, found by the lab's name, and never over a route of the machine."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given, strategies

from cli.lab import links, reach
from cli.lab.layout import Lab
from cli.lab.links import Clash, Route

NAME = strategies.from_regex(r"[a-z0-9]([-a-z0-9]{0,14}[a-z0-9])?", fullmatch=True)


def routes(*items: str | dict[str, Any]) -> list[Route]:
    full = [{"dst": item, "dev": "eth0"} if isinstance(item, str) else item for item in items]
    return links.routes(full)


@given(NAME, NAME)
def test_devices_of_labs_have_names_that_the_kernel_takes_and_do_not_clash(first: str, second: str) -> None:
    """At most 15 characters, one for each name."""
    assert len(links.device(first)) <= 15
    assert links.device(first).startswith(links.PREFIX)
    assert (links.device(first) == links.device(second)) == (first == second)


def test_a_lab_s_link_is_the_same_each_time_and_another_for_each_lab() -> None:
    """So that a lab that starts again mostly keeps its address, and labs that start at once do not meet."""
    first = links.choose("one", routes("default"), [])
    assert first == links.choose("one", routes("default"), [])
    second = links.choose("one", routes("default"), [first.network])
    assert not first.network.overlaps(second.network)
    assert IPv4Network("198.18.0.0/15").supernet_of(first.network)
    assert first.network.prefixlen == 30
    assert [first.host, first.switch] == [str(host) for host in first.network.hosts()]


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (["default", "0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8"], "198.18.0.0/15"),
        (["198.18.5.0/24"], "100.127.0.0/16"),
        ([{"dst": "198.19.0.7", "type": "local", "dev": "tun0", "table": "local"}], "100.127.0.0/16"),
        ([{"dst": "198.18.0.0/15", "type": "blackhole"}], "100.127.0.0/16"),
        (["198.18.0.0/15", "100.64.0.0/10"], "169.254.192.0/18"),
        ([{"dst": "198.18.0.0/30", "dev": "pnl-other"}], "198.18.0.0/15"),
        ([{"dst": "198.18.0.3", "type": "broadcast", "dev": "eth0"}], "198.18.0.0/15"),
    ],
)
def test_the_first_range_is_taken_that_no_route_is_about(present: list[Any], expected: str) -> None:
    """Of whatever kind, in whatever table; catch-all routes and links of labs do not count."""
    chosen = links.choose("lab", routes(*present), [])
    assert IPv4Network(expected).supernet_of(chosen.network)


def test_a_clash_names_ranges_and_routes() -> None:
    """All that were tried, and what is there."""
    with pytest.raises(Clash, match=r"10\.9\.0\.0/24 overlaps the route 10\.9\.0\.128/25 dev eth0"):
        links.choose("lab", routes("10.9.0.128/25"), [], ["10.9.0.0/24"])
    with pytest.raises(Clash, match=r"10\.9\.0\.0/30 is used up by other labs"):
        links.choose("lab", [], [IPv4Network("10.9.0.0/30")], ["10.9.0.0/30"])


def test_only_devices_that_lead_to_others_forward() -> None:
    """Not the loopback, not links of labs, not what is only an address."""
    present = routes(
        "default", {"dst": "10.0.0.0/24", "dev": "wlan0"}, {"dst": "127.0.0.0/8", "dev": "lo"},
        {"dst": "10.0.0.5", "type": "local", "dev": "dummy0"}, {"dst": "10.3.0.0/16", "type": "unreachable"},
    )  # fmt: skip
    assert links.forwarding_devices(present) == ["eth0", "wlan0"]


@pytest.mark.parametrize("text", ["10.0.0.0/31", "10.0.0.0/7", "10.0.0.1/24", "2001:db8::/64", "x"])
def test_a_range_must_hold_a_link(text: str) -> None:
    """Between /8 and /30, IPv4, without host bits."""
    with pytest.raises(ValueError):
        links.parse_range(text)


@pytest.mark.parametrize("text", ["198.51.100.0/24", "10.244.0.0/16", "10.96.0.0/16", "10.0.0.0/8"])
def test_a_link_lies_outside_of_the_lab_s_own_networks(text: str) -> None:
    """Nodes, pods and Services: the switch would look for this machine among them."""
    own = reach.ranges(Lab("lab", {"node-1": 1}))
    with pytest.raises(Clash, match=r"overlaps \S+, which the lab itself uses"):
        links.choose("lab", [], [], [text], own=own)
    assert links.choose("lab", [], [], [text, "198.18.0.0/15"], own=own).host.startswith("198.1")
