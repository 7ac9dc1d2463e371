"""Connections that the server ends: the one with this peer, and no other."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from controlplane.rpc import connections


@pytest.mark.parametrize(
    ("family", "address", "dialled", "peer"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1", "ipv4:127.0.0.1:{port}"),
        (socket.AF_INET6, "::1", "::1", "ipv6:%5B::1%5D:{port}"),
        # As gRPC listens, also on an address of IPv4.
        (socket.AF_INET6, "::", "127.0.0.1", "ipv4:127.0.0.1:{port}"),
    ],
)  # fmt: skip
def test_the_connection_of_a_peer_is_shut_down(family: int, address: str, dialled: str, peer: str) -> None:
    """Its client reads the end; another's stays."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server((address, 0), family=family, dualstack_ipv6=address == "::"))
        clients = [stack.enter_context(socket.create_connection((dialled, server.getsockname()[1]), 5)) for _ in range(2)]
        accepted = [stack.enter_context(server.accept()[0]) for _ in clients]
        assert connections.close(peer.format(port=clients[0].getsockname()[1]))
        assert clients[0].recv(1) == b""
        assert accepted[1].send(b"x") == 1
        assert clients[1].recv(1) == b"x"


@pytest.mark.parametrize("peer", ["", "unix:", "unix:/run/x.sock", "ipv4:127.0.0.1:1", "ipv4:", "ipv6:%5B::1%5D:1"])
def test_a_peer_without_a_connection_is_none(peer: str) -> None:
    """Nothing is shut down for it."""
    one, other = socket.socketpair()
    with one, other:
        assert not connections.close(peer)
        one.send(b"x")
        assert other.recv(1) == b"x"
