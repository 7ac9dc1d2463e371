"""Packets followed through nftables: what marks them, and what the kernel reports."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from nodeagent.network import nfttrace
from nodeagent.network.nftables import Nftables
from nodeagent.network.nfttrace import NftTrace, Packet
from tests.support.networks import alone

RULES = """
table inet t {
    chain c {
        type filter hook prerouting priority 0;
        udp dport 7 jump closed
    }
    chain closed {
        drop
    }
}
"""


def test_packets_are_marked_by_sender_and_port_or_identifier() -> None:
    assert "ip saddr 10.0.0.1 tcp sport 40001 meta nftrace set 1" in nfttrace.rules(Packet("10.0.0.1", "tcp", 40001))
    assert "ip saddr 10.0.0.1 sctp sport 40001 meta nftrace set 1" in nfttrace.rules(Packet("10.0.0.1", "sctp", 40001))
    assert "ip6 saddr fd00::1 icmpv6 type echo-request icmpv6 id 7" in nfttrace.rules(Packet("fd00::1", "icmp", 7))


@pytest.mark.root
def test_the_rules_that_a_packet_meets_are_reported() -> None:
    """Up to the one that drops it, with its text; afterwards nothing of the trace is left, nor of one that was killed."""

    def work() -> None:
        with contextlib.closing(Nftables()) as nft, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            nft.run_text(RULES + "table inet pinnace-trace-5 {\n}\n")
            _up()
            sock.bind(("127.0.0.1", 40001))
            with contextlib.closing(NftTrace(Packet("127.0.0.1", "udp", 40001))) as trace:
                sock.sendto(b"x", ("127.0.0.1", 7))
                found = [item for _ in range(20) for item in trace.read() if item.table == "t"]
            assert [(item.chain, item.verdict) for item in found] == [("c", "jump"), ("closed", "drop")]
            assert found[0].target == "127.0.0.1:7"
            shown = nfttrace.texts(nft, found)
            assert [shown[i.family, i.table, i.chain, i.handle] for i in found] == ["udp dport 7 jump closed", "drop"]
            assert "pinnace-trace" not in str(nft.read("tables"))

    alone(work)


def _up() -> None:
    from nodeagent.network import links
    from nodeagent.network.nlsocket import NetlinkSocket

    with NetlinkSocket() as kernel:
        kernel.run(links.change(1, up=True))


@pytest.mark.root
def test_threads_take_turns_in_the_library() -> None:
    """Its contexts share state: two threads in it at once corrupt its memory."""

    def work() -> None:
        with contextlib.closing(Nftables()) as nft:
            nft.run_text(RULES)
        threads = [threading.Thread(target=_busy, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    def _busy(number: int) -> None:
        for turn in range(30):
            with contextlib.closing(Nftables()) as nft:
                nft.run_text(f"table inet t{number}x{turn} {{\n chain c {{\n }}\n}}\n")
                assert nft.read(f"table inet t{number}x{turn}")

    alone(work)
