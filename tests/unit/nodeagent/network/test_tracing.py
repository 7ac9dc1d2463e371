"""What a trace reads of the packets that it follows, and of the rules that dropped them."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from pathlib import Path

import pytest

from nodeagent.network import links, nfttrace, tracing
from nodeagent.network.hops import Hop
from nodeagent.network.nfttrace import NftTrace, Packet
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.tracing import Probe, endpoint, unserved
from tests.support.networks import alone


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("10.244.1.2:8080", ("10.244.1.2", 8080)), ("10.244.1.2", ("10.244.1.2", 0)), ("[fd00::2]:8080", ("fd00::2", 8080)),
        ("[fd00::2]", ("fd00::2", 0)), ("fd00::2", ("fd00::2", 0)), ("", ("", 0)),
    ],
)  # fmt: skip
def test_a_target_is_an_address_and_maybe_a_port(target: str, expected: tuple[str, int]) -> None:
    assert endpoint(target) == expected


RECEIVED = "inet pinnace services_received_after: "
RESET = "inet pinnace services_reject: meta l4proto tcp reject with tcp reset"


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ([f"{RECEIVED}ct state new ip daddr . meta l4proto . th dport vmap @services_none_4", RESET],
         "the Service has no endpoints"),
        ([f"{RECEIVED}ct state new fib daddr type local meta l4proto . th dport vmap @services_nodeport_none_6",
          "inet pinnace services_reject: reject"], "the Service has no endpoints"),
        ([f"{RECEIVED}ct state new ip daddr . meta l4proto . th dport vmap @services_none_4"],
         "the Service has no endpoints on this node, and its traffic policy is Local"),
        ([f"{RECEIVED}ip daddr 10.96.0.0/12 fib daddr type != local goto services_reject", "inet pinnace services_reject: reject"],
         "no Service has this address, protocol and port"),
        (["inet pinnace policy_original_in_4: goto policy_denied", "inet pinnace policy_denied: drop"], ""),
    ],
)  # fmt: skip
def test_services_that_drop_a_packet(texts: list[str], reason: str) -> None:
    """Other rules are not explained here."""
    rules = [Hop("nft", text) for text in texts[:-1]] + [Hop("nft", texts[-1], dropped=True)]
    expected = [Hop("service", f"10.96.0.9:80: {reason}", dropped=True)] if reason else []
    assert unserved(rules, "10.96.0.9:80") == expected


def event(packet: int, family: str, table: str) -> nfttrace.Event:
    return nfttrace.Event(packet, family, table, "probes", "rule", 1, "continue")


@pytest.mark.parametrize("own_stack", [1, 2], ids=["bridge-nf-call", "no bridge-nf-call"])
def test_the_first_probe_ends_where_the_next_one_begins(own_stack: int) -> None:
    """Without br_netfilter the kernel has another identifier for a packet once the bridge has passed it on."""
    mark = f"{nfttrace.TABLES}40000"
    first = [
        event(1, "bridge", mark),
        event(1, "bridge", "pinnace"),
        event(own_stack, "ip", mark),
        event(own_stack, "ip", "pinnace"),
    ]
    second = [event(3, "bridge", mark), event(3, "ip", mark)]
    assert nfttrace.first_packet(first + second) == first
    assert nfttrace.first_packet(first) == first


@pytest.mark.root
@pytest.mark.parametrize(("chunk", "expected"), [(2, "answered with INIT ACK"), (6, "answered with ABORT"), (10, "")])
def test_an_sctp_probe_needs_no_kernel_with_sctp(chunk: int, expected: str) -> None:
    """Sent and answered by raw sockets; other packets are no answer."""
    probe = Probe(Packet("127.0.0.1", "sctp", 40_000), "127.0.0.1", 132, 1.0)

    def serve(sock: socket.socket) -> None:
        while (packet := sock.recv(2048)[20:])[12] != 1 or packet[:4] != struct.pack("!HH", 40_000, 132):
            pass
        sock.sendto(struct.pack("!HHIIBBH", 132, 40_000, 1, 0, chunk, 0, 4), ("127.0.0.1", 0))

    def work() -> None:
        with NetlinkSocket() as kernel:
            kernel.run(links.change(1, up=True))
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP) as server:
            server.settimeout(10)
            serving = threading.Thread(target=serve, args=(server,))
            serving.start()
            own = Path("/proc/thread-self/ns/net")
            with contextlib.closing(NftTrace(probe.packet)) as trace, tracing._socket(own, probe) as sock:
                seen, answer = tracing._exchange(trace, sock, probe)
            serving.join()
        assert answer == expected
        assert "127.0.0.1:132" in {item.target for item in seen}

    alone(work)
