"""Ranges of Services' addresses and node ports: what is given out, in which order."""

from __future__ import annotations

import ipaddress
from itertools import islice

import pytest

from controlplane.serviceranges import TRIES, AddressRange, PortRange, first_free, overlap, places, pool_range


@pytest.mark.parametrize(
    ("cidr", "static", "first", "last"),
    [
        ("10.96.0.0/12", 256, "10.96.1.0", "10.111.255.254"),
        ("10.96.0.0/24", 16, "10.96.0.16", "10.96.0.254"),
        ("10.96.0.0/20", 256, "10.96.1.0", "10.96.15.254"),
        ("10.96.0.0/28", 0, "10.96.0.11", "10.96.0.14"),
        ("10.0.0.0/8", 256, "10.0.1.0", "10.15.255.255"),
        ("fd00::/108", 256, "fd00::100", "fd00::f:ffff"),
    ],
)
def test_the_upper_part_of_a_range_is_given_out_first(cidr: str, static: int, first: str, last: str) -> None:
    """Kubernetes' bands: a sixteenth, from 16 to 256 addresses, is for users who state one."""
    found = AddressRange(cidr)
    upper = found.candidates[0]
    assert (found.static, found.at(upper[0]), found.at(upper[-1])) == (static, first, last)


def test_neither_the_api_nor_dns_are_given_out() -> None:
    """Nor the network's own address and the broadcast address; each other address is, once."""
    found = AddressRange("10.96.0.0/24")
    every = [place for part in found.candidates for place in part]
    assert sorted(every) == [*range(2, 10), *range(11, 255)]


@pytest.mark.parametrize(
    ("cidr", "text", "holds"),
    [
        ("10.0.0.0/8", "10.255.0.1", True), ("10.96.0.0/24", "10.96.0.0", False), ("10.96.0.0/24", "10.96.0.255", False),
        ("10.96.0.0/24", "10.97.0.1", False), ("10.96.0.0/24", "10.96.0.1", True), ("fd00::/112", "fd00::ffff", True),
        ("fd00::/112", "fd00::", False), ("10.96.0.0/24", "fd00::1", False),
    ],
)  # fmt: skip
def test_addresses_that_a_service_can_state(cidr: str, text: str, holds: bool) -> None:
    """All of the range but its ends."""
    assert AddressRange(cidr).holds(text) is holds


def test_the_lower_ports_are_given_out_last() -> None:
    """Kubernetes' bands: a thirty-second, from 16 to 128 ports."""
    assert PortRange(30_000, 32_767).candidates == (range(30_086, 32_768), range(30_000, 30_086))
    assert PortRange(30_000, 30_015).candidates == (range(30_000, 30_016), range(30_000, 30_000))


def test_places_differ_by_seed_and_are_few() -> None:
    """Random tries, of each part that is not empty."""
    parts = {seed: [list(tries) for _, tries in places(seed, (range(1000), range(0)))] for seed in ("a", "b")}
    assert [len(tries) for tries in parts["a"]] == [TRIES, 0]
    assert parts["a"] != parts["b"]
    assert all(0 <= place < 1000 for place in parts["a"][0])


def test_the_last_free_place_is_found() -> None:
    """In a part that is nearly full, from a random place on; none in one that is full."""
    part = range(100, 200)
    assert first_free(part, {*part} - {150}, "seed") == 150
    assert first_free(part, {*part}, "seed") is None
    assert first_free(range(0), set(), "seed") is None
    assert len({first_free(part, set(), str(number)) for number in range(50)}) > 10


def test_overlaps_are_named() -> None:
    """Of the same family."""
    assert overlap(["10.96.0.0/12", "fd00::/108"], ["10.244.0.0/16", "fd00:1::/64"]) is None
    assert overlap(["10.96.0.0/12"], ["10.244.0.0/16", "10.100.0.0/16"]) == ("10.96.0.0/12", "10.100.0.0/16")


@pytest.mark.parametrize(
    ("text", "ends"),
    [("192.0.2.0/30", ("192.0.2.0", "192.0.2.3")), ("192.0.2.5 - 192.0.2.9", ("192.0.2.5", "192.0.2.9")), ("192.0.2.7", ("192.0.2.7",) * 2)],
)  # fmt: skip
def test_ranges_of_a_pool(text: str, ends: tuple[str, str]) -> None:
    """CIDRs, ranges, and single addresses."""
    assert tuple(map(str, pool_range(text))) == ends


@pytest.mark.parametrize("text", ["", "a", "1.2.3.4-", "1.2.3.9-1.2.3.4", "1.2.3.4-fd00::1", "1.2.3.4/24"])
def test_what_is_no_range_of_a_pool(text: str) -> None:
    """A ValueError, which the command line reports."""
    with pytest.raises(ValueError):
        pool_range(text)


def test_a_full_default_range_takes_no_long() -> None:
    """What is random is bounded; of a range of a million addresses 32 are looked at."""
    found = AddressRange("10.96.0.0/12")
    [(part, tries), *_] = places("seed", found.candidates)
    assert len(list(islice(tries, 1000))) == TRIES
    assert all(found.holds(found.at(place)) for place in (part[0], part[-1]))
    assert ipaddress.ip_address(found.at(part[0])) in found.network
