"""Which addresses of a host are the node's: until when they are kept, what replaces them, and what never does."""

from __future__ import annotations

import socket

import pytest

from nodeagent.network.interface import NetworkError
from nodeagent.network.nodeaddress import NodeAddresses, SourceAddress


class Host:
    """`source` is the kernel's choice towards the control plane, empty for no route."""

    server = "192.0.2.9:6443"

    def __init__(self, *addresses: str, source: str = "") -> None:
        self.addresses, self.source = set(addresses), source

    async def present(self) -> frozenset[str]:
        return frozenset(self.addresses)

    def __call__(self) -> str:
        if not self.source:
            raise OSError(101, "Network is unreachable")
        return self.source

    def node(self, *configured: str) -> NodeAddresses:
        return NodeAddresses(configured, self, self.present)


async def test_an_address_is_kept_while_the_host_has_it() -> None:
    """Whatever the kernel would choose now; then the kernel's choice is the next one."""
    host = Host("192.0.2.1", "192.0.2.2", source="192.0.2.2")
    assert await host.node().find(("192.0.2.1",)) == ("192.0.2.1",)
    host.addresses.remove("192.0.2.1")
    assert await host.node().find(("192.0.2.1",)) == ("192.0.2.2",)
    assert await host.node().find() == ("192.0.2.2",)


async def test_a_host_without_a_route_or_an_address_has_none() -> None:
    """Of the overlay's own addresses, which are not among those of the host, the kernel may choose one."""
    with pytest.raises(NetworkError, match=r"no route to the control plane at 192\.0\.2\.9:6443: Network is unreachable"):
        await Host("192.0.2.1").node().find()
    with pytest.raises(NetworkError, match=r"this host has no address towards the control plane at 192\.0\.2\.9:6443"):
        await Host("192.0.2.1", source="10.244.1.1").node().find(("192.0.2.7",))


async def test_configured_addresses_are_not_replaced() -> None:
    """Each has to be there."""
    host = Host("192.0.2.1", "2001:db8::1", "192.0.2.2", source="192.0.2.2")
    node = host.node("192.0.2.1", "2001:db8::1")
    assert await node.find(("192.0.2.1", "2001:db8::1")) == ("192.0.2.1", "2001:db8::1")
    host.addresses.remove("2001:db8::1")
    with pytest.raises(NetworkError, match="no device of this host has the address 2001:db8::1, which --address names"):
        await node.find(("192.0.2.1", "2001:db8::1"))


@pytest.mark.parametrize(
    ("server", "address"), [("127.0.0.1:6443", "127.0.0.1"), ("[::1]:6443", "::1"), ("localhost:6443", None)]
)
def test_the_address_towards_a_server_of_either_family(server: str, address: str | None) -> None:
    """IPv6 in brackets, as in a URL."""
    assert SourceAddress(server)() in ({address} if address else {"127.0.0.1", "::1"})


def test_an_address_without_a_route_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent tries again, so it is the error of a socket."""
    found = [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("0.0.0.0", 0)) for _ in range(0)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(OSError, match="unreachable"):
        SourceAddress("192.0.2.1:6443")()


def test_a_host_name_is_resolved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name server may be out of reach when it is needed again."""
    source, resolve = SourceAddress("localhost:6443"), socket.getaddrinfo
    calls: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: calls.append(a) or resolve(*a, **k))
    assert source() == source()
    assert len(calls) == 1
