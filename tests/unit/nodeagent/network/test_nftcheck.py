"""Tables of nftables in the kernel compared with those that the same commands make; and changes of others, noticed by a count."""

from __future__ import annotations

import contextlib

import pytest

from nodeagent.network import nftcheck, nftread
from nodeagent.network.interface import Deviation
from nodeagent.network.nftables import Nftables
from nodeagent.network.nftcheck import Generation
from nodeagent.network.nlsocket import NetlinkSocket
from tests.support.networks import alone

TABLE = """
table inet t {
    set s { type ipv4_addr; }
    chain c {
        type filter hook input priority 0;
        tcp dport 80 counter accept
    }
}
"""


def test_each_chain_with_other_rules_is_a_difference() -> None:
    want = {"chain a": "\ndrop", "chain b": "", "chain c": ""}
    have = {"chain a": "", "chain b": "\naccept", "chain d": ""}
    assert nftcheck.differences("inet t", want, have) == [
        Deviation("nft", "inet t chain a", "1 rule", "changed: 0 rules"),
        Deviation("nft", "inet t chain b", "0 rules", "changed: 1 rule"),
        Deviation("nft", "inet t chain c", "0 rules", ""),
        Deviation("nft", "inet t chain d", "", "0 rules"),
    ]
    assert nftcheck.differences("inet t", want, {}) == [Deviation("nft", "table inet t", "present", "")]


@pytest.mark.root
def test_the_same_commands_make_the_same_shape_elsewhere() -> None:
    def work() -> None:
        with contextlib.closing(Nftables()) as nft:
            nft.run_text(TABLE)
            here = nftread.shape("inet t")
            assert nftcheck.elsewhere(lambda other: other.run_text(TABLE), ["inet t"]) == {"inet t": here}
            nft.run_text("flush chain inet t c")
            assert nftread.shape("inet t") != here

    alone(work)


@pytest.mark.root
def test_only_transactions_of_others_disturb() -> None:
    def work() -> None:
        with contextlib.ExitStack() as stack:
            nft, other = (stack.enter_context(contextlib.closing(Nftables())) for _ in range(2))
            kernel = stack.enter_context(NetlinkSocket(nftread.NETFILTER))
            generation = Generation(nft, kernel)
            assert not generation.undisturbed()
            generation.settle(generation.mark())
            assert generation.undisturbed()
            nft.run_text(TABLE)
            nft.run_text("add element inet t s { 192.0.2.1 }")
            nft.read("table inet t")
            assert generation.undisturbed()
            other.run_text("flush set inet t s")
            assert not generation.undisturbed()

    alone(work)
