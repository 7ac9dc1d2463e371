"""The overlay's wanted table, and the difference from what the kernel holds."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.network import nlsocket
from nodeagent.network.interface import Node, Peer
from nodeagent.network.plan import Fdb, Neighbour, Route, Table, choose, difference, encrypted, wanted
from nodeagent.network.vxlan import device, mac_of, vtep_of
from nodeagent.network.wireguard import TunnelPeer, tunnel_address

OURS = Node(("10.244.0.0/24",), ("10.244.0.0/16",), "192.0.2.1", mac_of("n0"), 42, 4789, service_cidrs=("10.96.0.0/12",))
BLACKHOLE = Route("10.244.0.0/16")
KEY = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="


def peer(number: int = 1, **rest: Any) -> Peer:
    name = f"n{number}"
    return replace(Peer(name, (f"10.244.{number}.0/24",), f"192.0.2.{number + 1}", mac_of(name)), **rest)


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
        pytest.param(peer(pod_cidrs=("10.244.0.0/24",)), id="our range"),
        pytest.param(peer(pod_cidrs=("10.244.0.128/25",)), id="part of our range"),
        pytest.param(peer(pod_cidrs=("10.244.0.0/16",)), id="the whole cluster"),
        pytest.param(peer(pod_cidrs=("0.0.0.0/0",)), id="the default route"),
        pytest.param(peer(pod_cidrs=("192.0.2.0/24",)), id="the underlay"),
        pytest.param(peer(pod_cidrs=("10.244.1.7/24",)), id="host bits"),
        pytest.param(peer(pod_cidrs=("fd00::/64",)), id="IPv6"),
        pytest.param(peer(pod_cidrs=("",)), id="no range"),
        pytest.param(peer(address="nowhere"), id="no address"),
        pytest.param(peer(address="192.0.2.1"), id="our address"),
        pytest.param(peer(address="10.244.2.7"), id="a pod's address"),
        pytest.param(peer(address="10.96.0.1"), id="a Service's address"),
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


@pytest.mark.parametrize(
    "others",
    [
        pytest.param([peer(2, pod_cidrs=("10.244.1.0/24",))], id="the same range"),
        pytest.param([peer(2, pod_cidrs=("10.244.1.128/25",))], id="a part"),
        pytest.param([peer(2, pod_cidrs=("10.244.1.0/25",))], id="a part with the same first address"),
        pytest.param([peer(2, pod_cidrs=("10.244.1.0/24",)), peer(3, pod_cidrs=("10.244.1.64/26",))], id="two others"),
    ],
)
def test_a_range_of_several_peers_is_of_the_first_by_name(others: list[Peer]) -> None:
    """The kernel holds one neighbour for an address: of two, each comparison would find the other one missing."""
    for order in ([peer(), *others, peer(4)], [peer(4), *reversed(others), peer()]):
        assert wanted(OURS, order) == wanted(OURS, [peer(), peer(4)])
        assert choose(OURS, order).overlapping == {other.name: "n1" for other in others}


def test_a_peer_that_is_left_out_takes_no_range_from_others() -> None:
    """Of a range that overlaps with that of n2, the rest is free for the next one by name. All families count."""
    wide = peer(3, pod_cidrs=("10.244.2.0/23",))
    found = choose(OURS, [peer(2), wide, peer(4, pod_cidrs=("10.244.3.0/24",))])
    assert ([item.name for item in found.peers], found.overlapping) == (["n2", "n4"], {"n3": "n2"})
    dual = [dual_peer(1), dual_peer(2, pod_cidrs=("10.244.2.0/24", "fd00:244:0:1::/64"))]
    assert choose(DUAL, dual).overlapping == {"n2": "n1"}


SHARES = st.lists(
    st.tuples(st.integers(1, 20), st.integers(22, 28), st.integers(0, 255)), max_size=8, unique_by=lambda item: item[0]
)


@given(SHARES)
def test_no_two_peers_have_addresses_in_common(shares: list[tuple[int, int, int]]) -> None:
    """Every one that is left out overlaps one that is not, with a lower name; so each next hop has one neighbour."""
    node = replace(OURS, pod_cidrs=("10.244.255.0/24",))
    peers = []
    for number, bits, place in shares:
        cidr = str(ipaddress.ip_network(f"10.244.{place % 8}.{place}/{bits}", strict=False))
        peers.append(peer(number, pod_cidrs=(cidr,)))
    found = choose(node, peers)
    networks = {item.name: ipaddress.ip_network(item.pod_cidrs[0]) for item in peers}
    kept = [item.name for item in found.peers]
    assert not [(one, two) for one, two in combinations(kept, 2) if networks[one].overlaps(networks[two])]
    assert {*kept, *found.overlapping} == networks.keys()
    for name, holder in found.overlapping.items():
        assert holder in kept
        assert holder < name
        assert networks[name].overlaps(networks[holder])
    neighbours = wanted(node, peers).neighbours
    assert len({item.address for item in neighbours}) == len(neighbours)


def test_the_order_of_peers_does_not_matter() -> None:
    """The table is a set."""
    assert wanted(OURS, [peer(1), peer(2)]) == wanted(OURS, [peer(2), peer(1)])


def test_a_moved_peer_changes_its_fdb_entry_only() -> None:
    """Route and neighbour stay while its host gets a new address."""
    change = difference(wanted(OURS, [peer(address="192.0.2.77")]), wanted(OURS, [peer()]))
    assert change.add == Table(fdb=frozenset({Fdb(mac_of("n1"), "192.0.2.77")}))
    assert change.remove == Table(fdb=frozenset({Fdb(mac_of("n1"), "192.0.2.2")}))


DUAL = Node(("10.244.0.0/24", "fd00:244::/64"), ("10.244.0.0/16", "fd00:244::/48"), "192.0.2.1", mac_of("n0"), 42, 4789)


def dual_peer(number: int = 1, **rest: Any) -> Peer:
    return replace(peer(number, pod_cidrs=(f"10.244.{number}.0/24", f"fd00:244:0:{number}::/64")), **rest)


def test_a_peer_of_two_families_has_a_route_and_a_neighbour_in_each() -> None:
    """And one FDB entry: there is one underlay."""
    mac = mac_of("n1")
    assert wanted(DUAL, [dual_peer()]) == Table(
        frozenset({Route("10.244.1.0/24", "10.244.1.0"), Route("fd00:244:0:1::/64", "fd00:244:0:1::")})
        | frozenset({BLACKHOLE, Route("fd00:244::/48")}),
        frozenset({Neighbour("10.244.1.0", mac), Neighbour("fd00:244:0:1::", mac)}),
        frozenset({Fdb(mac, "192.0.2.2")}),
    )


def test_only_the_families_of_the_node_are_programmed() -> None:
    """Its devices have no others; a peer that shares none with it has no entries."""
    old = replace(DUAL, pod_cidrs=DUAL.pod_cidrs[:1])
    assert wanted(old, [dual_peer()]) == wanted(OURS, [peer()])
    assert wanted(old, [dual_peer(pod_cidrs=("fd00:244:0:1::/64",))]) == wanted(OURS, [])


def test_an_ipv6_underlay() -> None:
    """Its peers' addresses are IPv6; one with an IPv4 address cannot be reached."""
    node = replace(DUAL, address="fd00:1::1")
    assert wanted(node, [dual_peer(address="fd00:1::2")]).fdb == {Fdb(mac_of("n1"), "fd00:1::2")}
    assert wanted(node, [dual_peer()]) == wanted(node, [])


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(dual_peer(pod_cidrs=("10.244.1.0/24", "fd00:244::/64")), id="our range"),
        pytest.param(dual_peer(pod_cidrs=("10.244.1.0/24", "fd00:244::/56")), id="a range around ours"),
        pytest.param(dual_peer(pod_cidrs=("10.244.1.0/24", "::/0")), id="the default route"),
        pytest.param(dual_peer(pod_cidrs=("10.244.1.0/24", "10.244.3.0/24")), id="two of a family"),
        pytest.param(dual_peer(pod_cidrs=("fd00:244:0:1:0::/64",)), id="a range that the kernel writes otherwise"),
        pytest.param(dual_peer(pod_cidrs=("::ffff:10.244.1.0/120",)), id="IPv4 in IPv6"),
    ],
)
def test_a_hostile_peer_of_two_families_is_left_out(hostile: Peer) -> None:
    """All of it, though one of its ranges may be right."""
    assert wanted(DUAL, [hostile, dual_peer(2)]) == wanted(DUAL, [dual_peer(2)])


@pytest.mark.parametrize("address", ["fd00:1::1", "fe80::2", "fd00:1::2%eth0", "ff02::1", "::", "FD00:1::2", "fd00:1:0::2"])
def test_an_address_that_no_other_host_of_an_ipv6_underlay_has(address: str) -> None:
    node = replace(DUAL, address="fd00:1::1")
    assert wanted(node, [dual_peer(address=address)]) == wanted(node, [])


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
    node = Node(("10.244.3.0/24",), ("10.244.0.0/14",), "192.0.2.1", mac_of("n0"), 42, 4789)
    made = nlsocket.attributes(device(node, link=7))
    assert vtep_of("10.244.3.0/24") == "10.244.3.0"
    # linux/if_link.h, IFLA_VXLAN_*.
    group, learning, group6 = 2, 7, 16
    assert made[learning] == b"\0"
    assert not {group, group6} & made.keys()


def test_in_an_encrypted_cluster_peers_are_at_the_addresses_of_their_tunnels() -> None:
    """Whose endpoints are the peers' own; the overlay's entries are those of any other underlay."""
    inside = replace(OURS, address=tunnel_address("3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08="), encrypt=True)
    tunnels, peers = encrypted(OURS, [peer(key=KEY)])
    assert tunnels == {TunnelPeer(KEY, "192.0.2.2")}
    assert wanted(inside, peers).fdb == {Fdb(mac_of("n1"), tunnel_address(KEY))}
    assert len(wanted(inside, peers).routes) == 2


@pytest.mark.parametrize(
    "others",
    [
        pytest.param([peer()], id="without a key"),
        pytest.param([peer(key="short")], id="no key"),
        pytest.param([peer(1, key=KEY), peer(2, key=KEY)], id="a key of two"),
        pytest.param([peer(key=KEY, address=OURS.address)], id="our address"),
        pytest.param([peer(key=KEY, address="x")], id="no address"),
    ],
)
def test_peers_without_a_tunnel_of_their_own_are_left_out(others: list[Peer]) -> None:
    assert encrypted(OURS, others) == (frozenset(), [])
