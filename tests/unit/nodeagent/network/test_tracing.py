"""What a trace reads of the packets that it follows, and of the rules that dropped them."""

from __future__ import annotations

import pytest

from nodeagent.network import nfttrace
from nodeagent.network.hops import Hop
from nodeagent.network.tracing import endpoint, unserved


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
