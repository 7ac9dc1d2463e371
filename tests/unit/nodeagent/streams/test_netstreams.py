"""What a request for a trace may name, as it becomes a part of nftables' commands and of real packets; and reports on the network."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nodeagent.network.interface import Deviation, NetworkError
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


async def report(network: FakeNetwork, problem: str = "", **options: bool) -> NetworkReport:
    streams = NetStreams(network, {}, None, None, packets=dict, problem=lambda: problem)  # type: ignore[arg-type]
    outgoing = asyncio.Queue[Any]()
    opening = OpenStream(verifyNetwork=VerifyNetworkOptions(**options))
    await streams.handlers()["verifyNetwork"](opening, None, outgoing)  # type: ignore[arg-type]
    found = outgoing.get_nowait().networkReport
    assert isinstance(found, NetworkReport)
    return found


@pytest.mark.parametrize("fix", [False, True])
async def test_a_report_has_what_is_not_repaired(fix: bool) -> None:
    """Why there is no network, and what could not be compared; a reason that both have once. Differences of the rest are there."""
    network = FakeNetwork(deviations=[Deviation("nft", "table inet pinnace", "present", "")])
    network.errors = [NetworkError("no address"), NetworkError("no answer")]
    found = await report(network, "no address", fix=fix)
    assert list(found.problems) == ["no address", "no answer"]
    assert [item.item for item in found.deviations] == ["table inet pinnace"]
    assert list((await report(FakeNetwork(), fix=fix)).problems) == []
