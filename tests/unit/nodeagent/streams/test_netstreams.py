"""What a request for a trace may name: it becomes a part of nftables' commands and of real packets."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.streams import netstreams
from pinnace.api.v1.streams_pb2 import TraceNetworkOptions
from pinnace.errors import BadRequest

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
