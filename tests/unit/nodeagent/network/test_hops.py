"""A trace's hop through the tunnel of an encrypted cluster; the others: tests/e2e/test_net_trace."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from nodeagent.network import hops
from nodeagent.network.wireguard import TunnelPeer, tunnel_address

PEER = TunnelPeer(base64.b64encode(b"k" * 32).decode(), "192.0.2.3")


def test_a_trace_continues_at_the_endpoint_of_the_peer() -> None:
    address = tunnel_address(PEER.key)
    hop = hops.encrypted(address, [TunnelPeer(base64.b64encode(b"o" * 32).decode(), "192.0.2.4"), PEER])
    assert (hop.kind, hop.dropped, hop.underlay) == ("tunnel", False, "192.0.2.3")
    assert hop.text == f"to {address} dev pinnace-wg peer {PEER.key} endpoint 192.0.2.3"


@pytest.mark.parametrize("peers", [[], [replace(PEER, endpoint="")]])
def test_a_packet_that_no_peer_takes_is_dropped(peers: list[TunnelPeer]) -> None:
    hop = hops.encrypted(tunnel_address(PEER.key), peers)
    assert (hop.dropped, hop.underlay) == (True, "")
