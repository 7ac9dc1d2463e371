"""Ranges of addresses, cut into ranges that do not overlap, and ranges of ports, cut into blocks."""

from __future__ import annotations

import ipaddress
import itertools

from hypothesis import given
from hypothesis import strategies as st

from nodeagent.network.policies.blocks import Cost, Interval, affordable, contains, intervals, sizes, text
from nodeagent.network.policies.model import LAST_PORT, Block, Ports
from nodeagent.network.policies.portblocks import SIZES, split
from pinnace.ipfamilies import canonical

EVERYTHING, TEN = Block("0.0.0.0/0", ("10.0.0.0/8",)), Block("10.0.0.0/8")


@st.composite
def networks(draw: st.DrawFn, within: str = "0.0.0.0/0") -> str:
    """Of few sizes and places, so that they overlap often."""
    outer = ipaddress.ip_network(within)
    length = draw(st.sampled_from([size for size in (0, 1, 2, 8, 30, 31, 32) if size >= outer.prefixlen]))
    place = int(outer.network_address) + draw(st.sampled_from((0, 1, 3, 4, outer.num_addresses // 2, outer.num_addresses - 1)))
    return str(ipaddress.ip_network((min(place, int(outer.broadcast_address)), length), strict=False))


@st.composite
def some_blocks(draw: st.DrawFn) -> Block:
    cidr = draw(networks())
    return Block(cidr, tuple(sorted(draw(st.sets(networks(cidr), max_size=3)))))


@given(st.lists(some_blocks(), max_size=6), st.integers(0, 60))
def test_blocks_that_are_affordable_have_so_many_in_their_intervals(blocks: list[Block], most: int) -> None:
    kept = affordable(blocks, most)
    assert kept <= set(blocks)
    assert sum(len(item.blocks) for item in intervals(kept, 4)) <= most


@given(st.lists(some_blocks(), max_size=6, unique=True))
def test_the_cost_of_blocks_that_are_added_is_their_sizes(blocks: list[Block]) -> None:
    """After each of them, and in any order."""
    cost = Cost()
    for number, block in enumerate(blocks, 1):
        cost.add(block)
        assert cost.total == sum(sizes(set(blocks[:number])).values())


def test_blocks_that_divide_no_other_one_are_kept() -> None:
    small = [Block(f"192.0.2.{number}") for number in range(250)]
    wide = [Block("0.0.0.0/0", (f"10.{number}.0.0/16",)) for number in range(250)]
    assert affordable([*wide, *small], 1_000_000) == {*wide, *small}
    assert set(small) <= affordable([*wide, *small], 2_000) < {*wide, *small}


@given(st.lists(some_blocks(), max_size=6))
def test_an_interval_is_in_exactly_its_blocks(blocks: list[Block]) -> None:
    """At its ends and next to them; intervals neither overlap nor touch another one of the same blocks."""
    found = intervals(blocks, 4)
    places = {0, (1 << 32) - 1}
    for item in found:
        places |= {place for end in (item.first, item.last) for place in (end - 1, end, end + 1) if 0 <= place < 1 << 32}
    for place in places:
        address = str(ipaddress.IPv4Address(place))
        expected = {block for block in blocks if contains(block, address)}
        having = [item for item in found if item.first <= place <= item.last]
        assert len(having) == bool(expected)
        assert all(item.blocks == expected for item in having)
    for before, after in itertools.pairwise(found):
        assert before.last + 1 < after.first or before.blocks != after.blocks


def test_each_family_has_its_own() -> None:
    six = Block("::/0")
    assert intervals([TEN, six], 6) == [Interval(0, (1 << 128) - 1, frozenset({six}))]
    assert intervals([six], 4) == []


def test_a_range_is_written_as_nftables_lists_it() -> None:
    found = [text(item.first, item.last, 4) for item in intervals([EVERYTHING, TEN, Block("10.0.0.7/32")], 4)]
    assert found == [
        "0.0.0.0-9.255.255.255",
        "10.0.0.0-10.0.0.6",
        "10.0.0.7",
        "10.0.0.8-10.255.255.255",
        "11.0.0.0-255.255.255.255",
    ]
    assert text(0, (1 << 32) - 1, 4) == "0.0.0.0/0"
    assert text(1 << 64, (1 << 65) - 1, 6) == "0:0:0:1::/64"
    assert text(0xFFFF << 32, (0x10000 << 32) - 1, 6) == f"{canonical('::ffff:0.0.0.0')}/96"


@given(st.integers(0, LAST_PORT), st.integers(0, LAST_PORT))
def test_blocks_of_ports_are_aligned_and_have_each_port_once(one: int, other: int) -> None:
    first, last = sorted((one, other))
    found = sorted((item.first, item.size) for item in split(Ports("tcp", first, last)))
    assert found[0][0] == first
    assert sum(size for _, size in found) == last - first + 1
    assert all(start % size == 0 and size in SIZES for start, size in found)
    assert all(start + size == following for (start, size), (following, _) in itertools.pairwise(found))
    assert len(found) <= 15 * 2 * (len(SIZES) - 1)
