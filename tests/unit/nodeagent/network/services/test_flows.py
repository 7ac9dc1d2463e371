"""Which tracked connections of Services are deleted, from the kernel's messages about them; and how little is done for others."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import SupportsIndex

import pytest

from nodeagent.network import conntrack, nlsocket
from nodeagent.network.conntrack import Ends, packed
from nodeagent.network.nlsocket import Message, Request, attribute, nested
from nodeagent.network.services import flows
from nodeagent.network.services.model import Target
from nodeagent.network.services.wanted import Frontend

UDP, TCP, SCTP, ICMP = socket.IPPROTO_UDP, socket.IPPROTO_TCP, socket.IPPROTO_SCTP, socket.IPPROTO_ICMP
CLIENT, VIP, POD = "10.244.9.9", "10.96.0.20", "10.244.1.5"
SIX = ("fd00::9", "fd00:96::20", "fd00:1::5")


class Uncopied(bytes):
    """Of which no part is taken out."""

    def __getitem__(self, key: SupportsIndex | slice) -> int:  # type: ignore[override]
        assert not isinstance(key, slice)
        return super().__getitem__(key)


def tuple_(number: int, source: str, destination: str, protocol: int, ports: tuple[int, int], *more: bytes) -> bytes:
    types = (3, 4) if ":" in source else (1, 2)
    addresses = nested(
        1, *(attribute(kind, nlsocket.ip_bytes(text)) for kind, text in zip(types, (source, destination), strict=True))
    )
    numbers = [attribute(kind, port.to_bytes(2, "big")) for kind, port in zip((2, 3), ports, strict=True)]
    return nested(number, addresses, nested(2, attribute(1, bytes([protocol])), *numbers), *more)


def message(protocol: int = UDP, ends: tuple[str, str, str] = (CLIENT, VIP, POD), port: int = 53, *more: bytes) -> bytes:
    """Of a client's connection to a port of an address, answered by another address at port 5300."""
    client, to, answering = ends
    family = socket.AF_INET6 if ":" in client else socket.AF_INET
    original = tuple_(1, client, to, protocol, (40000, port), *more)
    reply = tuple_(2, answering, client, protocol, (5300, 40000), *more)
    return struct.pack("=BBH", family, 0, 0) + original + reply + attribute(3, bytes(4)) + attribute(12, b"\0\0\0\7")


def judged(live: dict[Frontend, frozenset[Target]], body: bytes, protocol: int = UDP, own: tuple[str, ...] = ()) -> bool:
    return flows.stale(protocol, live, own)(body)


@pytest.mark.parametrize("more", [(), (attribute(3, b"\0\1"),)], ids=["as the kernel writes it", "in another order"])
@pytest.mark.parametrize("ends", [(CLIENT, VIP, POD), SIX])
@pytest.mark.parametrize(("protocol", "name"), [(UDP, "udp"), (SCTP, "sctp")])
def test_a_connection_that_leads_to_no_endpoint_is_stale(
    protocol: int, name: str, ends: tuple[str, str, str], more: tuple[bytes, ...]
) -> None:
    family = 6 if ":" in ends[1] else 4
    body = message(protocol, ends, 53, *more)
    frontend, node_port = Frontend(family, ends[1], name, 53), Frontend(family, "", name, 53)
    assert conntrack.ends_of(body) == Ends(protocol, packed(ends[1], 53), packed(ends[2], 5300))
    assert judged({frontend: frozenset()}, body, protocol)
    assert judged({frontend: frozenset({Target(ends[2], 5301), Target(ends[0], 5300)})}, body, protocol)
    assert not judged({frontend: frozenset({Target(ends[2], 5300)})}, body, protocol)
    assert not judged({Frontend(family, ends[1], name, 54): frozenset()}, body, protocol)
    assert not judged({Frontend(family, ends[2], name, 53): frozenset()}, body, protocol)
    # A port of the node: at its own addresses, unless a Service has the address.
    assert judged({node_port: frozenset()}, body, protocol, (ends[1],))
    assert not judged({node_port: frozenset()}, body, protocol, (ends[0],))
    assert not judged({node_port: frozenset({Target(ends[2], 5300)})}, body, protocol, (ends[1],))
    assert not judged({node_port: frozenset(), frontend: frozenset({Target(ends[2], 5300)})}, body, protocol, (ends[1],))
    assert not judged({Frontend(10 - family, "", name, 53): frozenset()}, body, protocol, (ends[1],))


def test_messages_without_ports_or_addresses_are_none() -> None:
    everything = {Frontend(4, VIP, "udp", port): frozenset[Target]() for port in (0, 53)}
    icmp = nested(2, attribute(1, bytes([ICMP])), attribute(4, bytes(2)), attribute(5, b"\x08"), attribute(6, b"\0"))
    addresses = nested(1, attribute(1, nlsocket.ip_bytes(CLIENT)), attribute(2, nlsocket.ip_bytes(VIP)))
    for body in (
        struct.pack("=BBH", socket.AF_INET, 0, 0), struct.pack("=BBH", socket.AF_UNIX, 0, 0) + bytes(200), message()[:60],
        struct.pack("=BBH", socket.AF_INET, 0, 0) + nested(1, addresses, icmp) + nested(2, addresses, icmp), message(TCP),
    ):  # fmt: skip
        assert not judged(everything, body)


class Kernel:
    """Lists all that it has, whatever it is asked for."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = bodies
        self.listed, self.deleted = list[Request](), list[Request]()

    def dump(self, request: Request, *, keep: Callable[[bytes], bool] | None = None) -> list[Message]:
        self.listed.append(request)
        return [Message(0, body) for body in self.bodies if keep is None or keep(body)]

    def run(self, *requests: Request) -> list[Message]:
        self.deleted += requests
        return []


def test_other_connections_are_not_parsed() -> None:
    """However many there are: those of TCP, and those of UDP to something else than the Services that have changed."""
    others = [Uncopied(message(TCP)), Uncopied(message(TCP, SIX)), Uncopied(message(UDP, (CLIENT, "192.0.2.9", POD)))]
    kernel = Kernel(*others * 33_000, message(), *others)
    live = {Frontend(4, VIP, "udp", 53): frozenset({Target("10.244.1.6", 5300)})}
    assert flows.delete(live, kernel, ()) == 1
    assert kernel.deleted == [conntrack.del_flow(conntrack.flow_of(Message(0, message())))]
    assert kernel.listed == [conntrack.list_flows(UDP, socket.AF_INET)]


def test_connections_to_host_ports_are_listed_once() -> None:
    """For all ports of a protocol, by address family."""
    bodies = [message(UDP, ends, port) for ends in ((CLIENT, "192.0.2.1", POD), SIX) for port in range(50, 60)]
    kernel = Kernel(*bodies, Uncopied(message(TCP)))
    assert conntrack.delete_sent_to(kernel, {(UDP, port) for port in range(52, 56)}) == 16
    assert kernel.listed == [conntrack.list_flows(UDP, family) for family in (socket.AF_INET, socket.AF_INET6)]
    assert len(kernel.deleted) == 16
