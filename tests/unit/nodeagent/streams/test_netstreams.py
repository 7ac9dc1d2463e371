"""What a request for a trace may name, as it becomes a part of nftables' commands and of real packets; and reports on the network."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nodeagent.network.hops import Hop
from nodeagent.network.interface import Deviation, NetworkError
from nodeagent.network.nfttrace import Packet
from nodeagent.network.policies.evaluator import Traffic, Verdict
from nodeagent.network.tracing import Probe, Way
from nodeagent.streams import netstreams
from nodeagent.streams.netstreams import NetStreams
from pinnace.api.v1.streams_pb2 import NetworkReport, OpenStream, TraceNetworkOptions, VerifyNetworkOptions
from pinnace.errors import BadRequest
from tests.support.hosting import FakeNetwork

WANTED = {
    "source": "10.244.1.2",
    "target": "10.96.0.1",
    "protocol": "tcp",
    "sourcePort": 40_000,
    "port": 443,
    "waitMillis": 100,
}


def test_a_trace_has_plain_addresses_and_ports() -> None:
    found = netstreams._probe(TraceNetworkOptions(**WANTED))
    assert (found.packet.source, found.target, found.port) == ("10.244.1.2", "10.96.0.1", 443)


@pytest.mark.parametrize(
    "wrong",
    [
        {"source": "fe80::1%x meta nftrace set 1 } }\ndelete table inet pinnace\n#"}, {"target": "fe80::1%eth0"},
        {"source": "10.244.1.2 accept"}, {"source": "fd00:0::1"}, {"protocol": "tcp sport 1 accept"}, {"sourcePort": 1 << 16},
        {"port": 0}, {"port": 1 << 16},
    ],
)  # fmt: skip
def test_all_else_is_refused(wrong: dict[str, Any]) -> None:
    """The zone of an IPv6 address may be any text."""
    with pytest.raises(BadRequest):
        netstreams._probe(TraceNetworkOptions(**{**WANTED, **wrong}))


class Denying:
    """Policies that deny everything."""

    def verdict(self, uid: str, other: str, *, direction: str, traffic: Traffic) -> Verdict | None:
        return Verdict(False, (f"shop/{direction}-{traffic.protocol}-{traffic.port}",))


class NoPods:
    workers: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (Way((Hop("veth", ""),), "10.244.2.7:80", judged=True), "egress: denied by shop/out-tcp-80"),
        (Way((Hop("pod", "", local=True),), "192.0.2.1:6443", "connected"), "not restricted: the packet does not leave the node"),
        (Way((Hop("pod", "", local=True),), "10.96.0.10:53", judged=True), "not restricted: the packet does not leave the node"),
        (Way((Hop("veth", ""),), "10.244.1.2:80", judged=True), "not restricted: a pod reaches itself"),
        (Way((Hop("service", "no endpoints", dropped=True),), "10.96.0.9:80"), None),
        (Way((Hop("nft", "policy_denied: drop", dropped=True),), "10.96.0.9:80", judged=True), "egress: denied by shop/out-tcp-80"),
    ],
)  # fmt: skip
def test_policies_are_shown_of_packets_that_come_to_them(way: Way, expected: str | None) -> None:
    """Not of one for the node, which they do not restrict, nor of one that is dropped before."""
    streams = NetStreams(None, {}, NoPods(), Denying(), repair=None, packets=dict, problem=str)  # type: ignore[arg-type]
    probe = Probe(Packet("10.244.1.2", "tcp", 40_000), "10.96.0.9", 80, 1.0)
    found = streams._judged(TraceNetworkOptions(**WANTED, podUid="u1"), probe, way)
    policies = [hop for hop in found if hop.kind == "policy"]
    assert [hop.text for hop in policies] == ([expected] if expected is not None else [])
    assert [hop.dropped for hop in policies] == (["denied" in expected] if expected is not None else [])
    assert [hop.text for hop in found if hop.kind == "answer"] == ([way.answer] if way.answer else [])


@pytest.mark.parametrize(
    ("answer", "dropped"),
    [
        ("connected", False), ("Connection refused", False), ("answered", False), ("No route to host", True),
        ("Network is unreachable", True),
    ],
)  # fmt: skip
def test_an_answer_that_the_receiver_is_unreachable_is_a_drop(answer: str, dropped: bool) -> None:
    """The others come from the receiver itself."""
    streams = NetStreams(None, {}, NoPods(), Denying(), repair=None, packets=dict, problem=str)  # type: ignore[arg-type]
    way = Way((Hop("underlay", "leaves the overlay by eth0, from the node's address"),), "203.0.113.9:9", answer)
    probe = Probe(Packet("10.244.1.2", "tcp", 40_000), "203.0.113.9", 9, 1.0)
    [hop] = streams._judged(TraceNetworkOptions(**WANTED, podUid="u1"), probe, way)
    assert (hop.kind, hop.text, hop.dropped) == ("answer", answer, dropped)


async def report(network: FakeNetwork, problem: str = "", **options: bool) -> NetworkReport:
    streams = NetStreams(network, {}, None, None, repair=network.repair, packets=dict, problem=lambda: problem)  # type: ignore[arg-type]
    outgoing = asyncio.Queue[Any]()
    opening = OpenStream(verifyNetwork=VerifyNetworkOptions(**options))
    await streams.handlers()["verifyNetwork"](opening, None, outgoing)  # type: ignore[arg-type]
    found = outgoing.get_nowait().networkReport
    assert isinstance(found, NetworkReport)
    return found


@pytest.mark.parametrize("fix", [False, True])
async def test_a_report_has_what_is_not_repaired(fix: bool) -> None:
    """Why there is no network, what is in the way, and what could not be compared; a reason that several have once. Differences of
    the rest are there."""
    network = FakeNetwork(deviations=[Deviation("nft", "table inet pinnace", "present", "")])
    network.errors, network.clash = [NetworkError("no address"), NetworkError("no answer")], "a route is in the way"
    found = await report(network, "no address", fix=fix)
    assert list(found.problems) == ["no address", "a route is in the way", "no answer"]
    assert [item.item for item in found.deviations] == ["table inet pinnace"]
    assert list((await report(FakeNetwork(), fix=fix)).problems) == []


async def test_a_report_says_whether_all_is_repaired_and_how_much_it_leaves_out() -> None:
    """Of thousands of differences a part is listed."""
    many = [Deviation("nft", f"element {number}", "present", "") for number in range(netstreams.MAX_DEVIATIONS + 5)]
    found = await report(FakeNetwork(deviations=list(many)), fix=True)
    assert (len(found.deviations), found.omitted, found.fixed) == (netstreams.MAX_DEVIATIONS, 5, True)
    assert not (await report(FakeNetwork(deviations=list(many)), fix=False)).fixed
    network = FakeNetwork(deviations=list(many))
    network.left = many[:1]
    assert not (await report(network, fix=True)).fixed
