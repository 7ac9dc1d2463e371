"""nftables as netlink has it: shapes that are equal where the rules are, and clients of sets that packets fill."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from nodeagent.network import nftread
from nodeagent.network.elements import Element
from nodeagent.network.interface import NetworkError
from nodeagent.network.nftables import Nftables
from nodeagent.network.nftread import Client, Container
from tests.support.networks import alone

pytestmark = pytest.mark.root
RULES = """
table inet t {
    set s { type ipv4_addr; }
    set seen { type ipv4_addr . inet_proto . inet_service; flags dynamic,timeout; timeout 1h; }
    map m { type inet_service : verdict; }
    chain one { tcp dport { 80, 443 } counter accept; }
    chain two {
        type filter hook input priority 0;
        ip saddr @s tcp dport vmap { 22 : accept, 23 : drop }
    }
}
"""


@contextlib.contextmanager
def programmed(text: str) -> Iterator[Nftables]:
    with contextlib.closing(Nftables()) as nft:
        nft.run_text(text)
        yield nft


def shape(*texts: str) -> nftread.Shape:
    """Of a table in a network namespace of its own, made by these commands one after the other."""

    def work() -> nftread.Shape:
        with programmed(texts[0]) as nft:
            for text in texts[1:]:
                nft.run_text(text)
            return nftread.shape("inet t")

    return alone(work)


def test_counts_handles_and_numbers_of_sets_without_a_name_are_no_difference() -> None:
    """The later rules were added in another order, so the kernel has numbered their sets the other way round."""
    first, _, rest = RULES.partition("    chain one")
    later = f"{first}    chain one {{ }}{rest[rest.index('}' + chr(10)) + 1 :]}"
    assert "443" not in later
    again = "add rule inet t one tcp dport { 80, 443 } counter packets 7 bytes 490 accept"
    assert shape(later, again) == shape(RULES)


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("chain one", "443", "444"), ("chain one", " counter", ""), ("chain two", "23 : drop", "23 : accept"),
        ("chain two", "@s", "!= @s"), ("chain two", "priority 0", "priority 1"), ("chain two", "input", "forward"),
        ("set s", "ipv4_addr; }\n    set seen", "ipv4_addr; flags interval; }\n    set seen"), ("set seen", "1h", "2h"),
        ("map m", "inet_service : verdict", "inet_proto : verdict"),
    ],
)  # fmt: skip
def test_what_differs_is_a_difference_of_its_chain_or_container(kind: str, before: str, after: str) -> None:
    one, two = shape(RULES), shape(RULES.replace(before, after))
    assert {name for name in one if one[name] != two[name]} == {kind}
    assert one.keys() == two.keys()


def test_a_dormant_table_has_other_flags() -> None:
    one, two = shape(RULES), shape(RULES, "add table inet t { flags dormant; }")
    assert {name for name in one if one[name] != two[name]} == {"flags"}


def test_elements_are_no_part_of_the_shape() -> None:
    more = "add element inet t s { 192.0.2.1 }; add element inet t seen { 192.0.2.1 . tcp . 80 }"
    assert shape(RULES, more) == shape(RULES)


def in_namespace(work: Callable[[Nftables], None]) -> None:
    def run() -> None:
        with programmed(RULES) as nft:
            work(nft)

    alone(run)


def test_tables_chains_and_containers_have_names() -> None:
    def work(nft: Nftables) -> None:
        nft.run_text("table bridge t { set other { type ipv4_addr; }; }")
        assert nftread.tables() == {("inet", "t"), ("bridge", "t")}
        assert sorted(nftread.chains("inet t")) == ["one", "two"]
        found = {item.name: (item.is_map, item.is_timed, item.timeout) for item in nftread.containers("inet t")}
        assert found == {"s": (False, False, 0), "m": (True, False, 0), "seen": (False, True, 3600)}
        assert nftread.shape("inet nothing") == {}
        with pytest.raises(NetworkError):
            nftread.clients("inet t", Container("nothing", is_map=False, is_timed=True, types=0, timeout=0))

    in_namespace(work)


def test_elements_are_read_of_sets_and_maps_that_packets_do_not_fill() -> None:
    def work(nft: Nftables) -> None:
        nft.run_text("add element inet t s { 192.0.2.1 }; add element inet t m { 80 : jump one }")
        nft.run_text("add element inet t seen { 192.0.2.1 . tcp . 80 }")
        found = nftread.filled(nft, "inet t", nftread.containers("inet t"))
        assert found == {"s": {Element("s", ("192.0.2.1",))}, "m": {Element("m", ("80",), ("jump one",))}}

    in_namespace(work)


def test_clients_are_read_with_their_timeouts() -> None:
    """Keys as nft writes them, protocols by name; without those that have a timeout which is left out."""

    def work(nft: Nftables) -> None:
        nft.run_text(
            "table inet t { set six { type ipv6_addr . ipv4_addr . inet_service; flags dynamic,timeout; timeout 1d; }; }"
        )
        nft.run_text("add element inet t six { fd00::1 . 192.0.2.1 . 65535 }")
        for key in ("192.0.2.1 . tcp . 80 timeout 10s", "192.0.2.2 . udp . 53", "192.0.2.3 . 47 . 1 timeout 2h"):
            nft.run_text(f"add element inet t seen {{ {key} }}")
        own = {item.name: item for item in nftread.containers("inet t")}
        first = Client(("192.0.2.1", "tcp", "80"), 10)
        usual = Client(("192.0.2.2", "udp", "53"), 3600)
        other = Client(("192.0.2.3", "47", "1"), 7200)
        assert sorted(nftread.clients("inet t", own["seen"])) == [first, usual, other]
        assert nftread.clients("inet t", own["seen"], but=[10, 7200]) == [usual]
        assert sorted(nftread.clients("inet t", own["seen"], but=[3600])) == [first, other]
        assert nftread.clients("inet t", own["six"]) == [Client(("fd00::1", "192.0.2.1", "65535"), 86400)]

    in_namespace(work)
