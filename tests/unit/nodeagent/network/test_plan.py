"""The overlay's wanted table, and the difference from what the kernel holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.network import nlsocket
from nodeagent.network.interface import Node, Peer
from nodeagent.network.plan import Fdb, Neighbour, Route, Table, difference, wanted
from nodeagent.network.vxlan import device, mac_of, vtep_of

OURS = Node("10.244.0.0/24", ("10.244.0.0/16",), "192.0.2.1", mac_of("n0"), 42, 4789)
BLACKHOLE = Route("10.244.0.0/16")


def peer(number: int = 1, **rest: str) -> Peer:
    name = f"n{number}"
    return replace(Peer(name, f"10.244.{number}.0/24", f"192.0.2.{number + 1}", mac_of(name)), **rest)


def test_a_peer_costs_a_route_a_neighbour_and_an_fdb_entry() -> None:
    """And nothing else."""
    mac = mac_of("n1")
    assert wanted(OURS, [peer()]) == Table(
        frozenset({Route("10.244.1.0/24", "10.244.1.0"), BLACKHOLE}),
        frozenset({Neighbour("10.244.1.0", mac)}),
        frozenset({Fdb(mac, "192.0.2.2")}),
    )


def test_without_peers_the_cluster_ranges_lead_nowhere() -> None:
    """Pod traffic never leaves by the default route."""
    both = replace(OURS, cluster_cidrs=("10.244.0.0/16", "10.99.0.0/16"))
    assert wanted(both, []) == Table(routes=frozenset({BLACKHOLE, Route("10.99.0.0/16")}))


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(peer(pod_cidr="10.244.0.0/24"), id="our range"),
        pytest.param(peer(pod_cidr="10.244.0.128/25"), id="part of our range"),
        pytest.param(peer(pod_cidr="10.244.0.0/16"), id="the whole cluster"),
        pytest.param(peer(pod_cidr="0.0.0.0/0"), id="the default route"),
        pytest.param(peer(pod_cidr="192.0.2.0/24"), id="the underlay"),
        pytest.param(peer(pod_cidr="10.244.1.7/24"), id="host bits"),
        pytest.param(peer(pod_cidr="fd00::/64"), id="IPv6"),
        pytest.param(peer(pod_cidr=""), id="no range"),
        pytest.param(peer(address="nowhere"), id="no address"),
        pytest.param(peer(address="192.0.2.1"), id="our address"),
        pytest.param(peer(address="224.0.0.1"), id="a group's address"),
        pytest.param(peer(address="0.0.0.0"), id="any address"),
        pytest.param(peer(mac=mac_of("n0")), id="our MAC"),
        pytest.param(peer(mac=mac_of("n2")), id="another peer's MAC"),
        pytest.param(peer(mac="ff:ff:ff:ff:ff:ff"), id="the broadcast MAC"),
        pytest.param(peer(mac="00:00:00:00:00:00"), id="the MAC of flooding"),
        pytest.param(peer(mac="0A:1B:2C:3D:4E:5F"), id="a MAC that the kernel writes otherwise"),
        pytest.param(peer(mac="junk"), id="no MAC"),
    ],
)
def test_a_hostile_peer_is_left_out(hostile: Peer) -> None:
    """It could only take traffic that is not its own; the others stay."""
    assert wanted(OURS, [hostile, peer(2)]) == wanted(OURS, [peer(2)])


def test_the_order_of_peers_does_not_matter() -> None:
    """The table is a set."""
    assert wanted(OURS, [peer(1), peer(2)]) == wanted(OURS, [peer(2), peer(1)])


def test_a_moved_peer_changes_its_fdb_entry_only() -> None:
    """Route and neighbour stay while its host gets a new address."""
    change = difference(wanted(OURS, [peer(address="192.0.2.77")]), wanted(OURS, [peer()]))
    assert change.add == Table(fdb=frozenset({Fdb(mac_of("n1"), "192.0.2.77")}))
    assert change.remove == Table(fdb=frozenset({Fdb(mac_of("n1"), "192.0.2.2")}))


PEERS = st.lists(st.integers(1, 200), unique=True, max_size=8).map(lambda numbers: [peer(n) for n in numbers])


@given(PEERS, PEERS)
def test_applying_the_difference_reaches_what_is_wanted(before: list[Peer], after: list[Peer]) -> None:
    """And a second time there is nothing to do; nothing is both added and removed."""
    have, want = wanted(OURS, before), wanted(OURS, after)
    change = difference(want, have)
    for field in ("routes", "neighbours", "fdb"):
        add, remove = getattr(change.add, field), getattr(change.remove, field)
        assert (getattr(have, field) | add) - remove == getattr(want, field)
        assert not add & remove
    assert difference(want, want).size == 0


def test_a_vanished_entry_is_found() -> None:
    """Entries do vanish from the kernel."""
    want = wanted(OURS, [peer(1), peer(2)])
    change = difference(want, replace(want, neighbours=frozenset()))
    assert change.add == Table(neighbours=want.neighbours)
    assert change.size == 2


@given(st.text(min_size=1, max_size=63))
def test_a_vtep_mac_is_stable_local_and_unicast(name: str) -> None:
    """The same for a name always, and never one that hardware has."""
    first = int(mac_of(name).split(":")[0], 16)
    assert mac_of(name) == mac_of(name)
    assert (len(mac_of(name)), first & 0x03) == (17, 0x02)


def test_the_device_neither_learns_nor_floods() -> None:
    """The VTEP is the range's first address; what is not programmed goes nowhere."""
    node = Node("10.244.3.0/24", ("10.244.0.0/14",), "192.0.2.1", mac_of("n0"), 42, 4789)
    made = nlsocket.attributes(device(node, link=7))
    assert vtep_of("10.244.3.0/24") == "10.244.3.0"
    # linux/if_link.h, IFLA_VXLAN_*.
    group, learning, group6 = 2, 7, 16
    assert made[learning] == b"\0"
    assert not {group, group6} & made.keys()
