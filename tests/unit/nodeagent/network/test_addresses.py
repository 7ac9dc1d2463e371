"""Pod addresses of one node."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.network.addresses import Ipam
from nodeagent.network.interface import NetworkError


def test_the_first_pod_comes_after_vtep_and_bridge() -> None:
    """.0 is the VTEP, .1 the bridge."""
    ipam = Ipam("10.244.3.0/24")
    assert (ipam.allocate("a"), ipam.allocate("b")) == (("10.244.3.2",), ("10.244.3.3",))


def test_a_pod_keeps_its_address() -> None:
    """Asking again is no new allocation."""
    ipam = Ipam("10.244.3.0/24")
    assert ipam.allocate("a") == ipam.allocate("a")


def test_a_released_address_rests_before_it_is_used_again() -> None:
    """The next pod gets the one after; the range comes round."""
    ipam = Ipam("10.244.3.0/29")
    ipam.allocate("a")
    ipam.release("a")
    given_out = [ipam.allocate(name)[0] for name in "bcdef"]
    assert given_out == [f"10.244.3.{n}" for n in (3, 4, 5, 6, 2)]


def test_an_agent_that_starts_continues_after_the_last_address() -> None:
    """One that was released just before rests too; an offset of a larger range is one of this range."""
    given_out = list[int]()
    first = Ipam("10.244.3.0/24", allocated=given_out.append)
    first.allocate("a")
    first.allocate("b")
    first.release("b")
    second = Ipam("10.244.3.0/24", last=given_out[-1])
    second.hold("a", "10.244.3.2")
    assert second.allocate("c") == ("10.244.3.4",)
    assert Ipam("10.244.3.0/29", last=250).allocate("a")[0] in {f"10.244.3.{n}" for n in range(2, 7)}


def test_a_full_range_says_so_and_recovers() -> None:
    """Never the broadcast address; one release is enough."""
    ipam = Ipam("10.244.3.0/29")
    for name in "abcde":
        ipam.allocate(name)
    with pytest.raises(NetworkError, match="no address is left"):
        ipam.allocate("f")
    ipam.release("c")
    assert ipam.allocate("f") == ("10.244.3.4",)


def test_a_held_address_is_not_given_to_another() -> None:
    """After a restart of the agent, pods keep what they have."""
    ipam = Ipam("10.244.3.0/24")
    ipam.hold("old", "10.244.3.2")
    ipam.hold("old", "10.244.3.2")
    assert ipam.allocate("new") == ("10.244.3.3",)
    assert ipam.allocate("old") == ("10.244.3.2",)
    with pytest.raises(NetworkError, match="taken"):
        ipam.hold("thief", "10.244.3.2")
    with pytest.raises(NetworkError, match="taken"):
        ipam.hold("old", "10.244.3.9")


@pytest.mark.parametrize("address", ["10.244.3.0", "10.244.3.1", "10.244.3.255", "10.244.4.2", "192.0.2.1"])
def test_what_is_no_pod_address_cannot_be_held(address: str) -> None:
    """Neither the node's own nor another range's."""
    with pytest.raises(NetworkError):
        Ipam("10.244.3.0/24").hold("a", address)


def test_a_range_without_room_refuses() -> None:
    """Instead of handing out what is not its own."""
    for cidr in ("10.244.3.0/31", "10.244.3.0/32"):
        with pytest.raises(NetworkError):
            Ipam(cidr).allocate("a")


DUAL = ("10.244.3.0/24", "fd00:244:0:3::/64")


def test_a_pod_of_two_families_has_one_offset_in_both_ranges() -> None:
    """The primary family comes first, whichever it is."""
    assert Ipam(*DUAL).allocate("a") == ("10.244.3.2", "fd00:244:0:3::2")
    assert Ipam(*reversed(DUAL)).allocate("a") == ("fd00:244:0:3::2", "10.244.3.2")


def test_an_address_of_one_family_holds_that_of_the_other() -> None:
    """A pod may be older than the second range; addresses that do not belong together are refused."""
    ipam = Ipam(*DUAL)
    ipam.hold("old", "10.244.3.2")
    assert ipam.allocate("new") == ("10.244.3.3", "fd00:244:0:3::3")
    for address in ("fd00:244:0:3::2", "fd00:244:0:4::9", "fd00:244:0:3::1", "fd00:244:0:3::ffff:ffff:ffff"):
        with pytest.raises(NetworkError):
            ipam.hold("thief", address)
    with pytest.raises(NetworkError):
        ipam.hold("other", "10.244.3.7", "fd00:244:0:3::8")


def test_the_smaller_range_bounds_both() -> None:
    ipam = Ipam("10.244.3.0/29", "fd00:244:0:3::/64")
    assert [ipam.allocate(name)[1] for name in "abcde"] == [f"fd00:244:0:3::{n}" for n in (2, 3, 4, 5, 6)]
    with pytest.raises(NetworkError, match=r"no address is left in 10\.244\.3\.0/29,fd00:244:0:3::/64"):
        ipam.allocate("f")


def test_ranges_are_compared_in_order() -> None:
    ipam = Ipam(*DUAL)
    assert ipam.serves(DUAL)
    assert not ipam.serves(DUAL[:1])
    assert not ipam.serves(["10.244.4.0/24", DUAL[1]])


def test_an_address_of_a_family_without_a_range_is_not_contained() -> None:
    assert not Ipam("10.244.3.0/24").contains("fd00::1")
    assert Ipam(*DUAL).contains("fd00:244:0:3::2")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=80))
def test_no_two_pods_share_an_address(moves: list[tuple[bool, int]]) -> None:
    """Whatever the order of allocations and releases."""
    ipam, held = Ipam("10.244.3.0/28"), {}
    for keep, number in moves:
        if keep:
            [held[number]] = ipam.allocate(str(number))
        else:
            ipam.release(str(number))
            held.pop(number, None)
        assert len(set(held.values())) == len(held)
        assert not {"10.244.3.0", "10.244.3.1", "10.244.3.15"} & set(held.values())
