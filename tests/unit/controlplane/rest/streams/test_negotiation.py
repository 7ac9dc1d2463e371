"""Upgrades: what clients offer, what they get, and what is refused before the protocol is switched."""

from __future__ import annotations

import pytest

from controlplane.rest.streams.interface import StreamRequest
from controlplane.rest.streams.negotiation import Transport, negotiate
from pinnace.errors import BadRequest

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def request(subresource: str, *headers: tuple[str, str], method: str = "GET") -> StreamRequest:
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name, []).append(value)
    return StreamRequest(method, "default", "web", subresource, {}, found)


def websocket(subresource: str, *protocols: str, **changed: str) -> StreamRequest:
    headers = {
        "connection": "keep-alive, Upgrade", "upgrade": "websocket", "sec-websocket-key": KEY, "sec-websocket-version": "13",
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }  # fmt: skip
    return request(subresource, *headers.items(), *(("sec-websocket-protocol", item) for item in protocols))


def spdy(subresource: str, *versions: str) -> StreamRequest:
    headers = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1"), *(("x-stream-protocol-version", item) for item in versions)]
    return request(subresource, *headers, method="POST")


ACCEPTED = [
    (websocket("exec", "v5.channel.k8s.io"), "v5.channel.k8s.io"),
    (websocket("exec", "v5.channel.k8s.io,v4.channel.k8s.io"), "v5.channel.k8s.io"),
    (websocket("attach", "v4.channel.k8s.io, v5.channel.k8s.io"), "v4.channel.k8s.io"),
    (websocket("exec", "base64.channel.k8s.io", "v4.channel.k8s.io"), "v4.channel.k8s.io"),
    (websocket("portforward", "SPDY/3.1+portforward.k8s.io"), "SPDY/3.1+portforward.k8s.io"),
    (websocket("portforward", "v5.channel.k8s.io,v4.channel.k8s.io"), "v5.channel.k8s.io"),
    (websocket("portforward"), ""),
    (spdy("exec", "v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io"), "v5.channel.k8s.io"),
    (spdy("exec", "v4.channel.k8s.io, v3.channel.k8s.io"), "v4.channel.k8s.io"),
    (spdy("attach", "channel.k8s.io"), "channel.k8s.io"),
    (spdy("portforward", "portforward.k8s.io"), "portforward.k8s.io"),
]


@pytest.mark.parametrize(("offer", "protocol"), ACCEPTED)
def test_the_clients_first_choice_that_is_known_is_echoed(offer: StreamRequest, protocol: str) -> None:
    """In the header of its transport, and in no other."""
    upgrade = negotiate(offer)
    assert upgrade.protocol == protocol
    head, _, rest = upgrade.response.partition(b"\r\n\r\n")
    assert not rest
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ") for line in lines)
    assert status == "HTTP/1.1 101 Switching Protocols"
    expected = {"Connection": "Upgrade", "Upgrade": upgrade.transport.value}
    if upgrade.transport is Transport.SPDY:
        assert headers == {**expected, "X-Stream-Protocol-Version": protocol}
    else:
        named = {"Sec-WebSocket-Protocol": protocol} if protocol else {}
        assert headers == {**expected, "Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", **named}


REFUSED = {
    "no upgrade": request("exec"),
    "an upgrade that Connection does not name": request("exec", ("upgrade", "SPDY/3.1"), ("connection", "close")),
    "another protocol": request("exec", ("connection", "upgrade"), ("upgrade", "h2c")),
    "base64 alone": websocket("exec", "v4.base64.channel.k8s.io"),
    "base64 of a port": websocket("portforward", "v4.base64.channel.k8s.io"),
    "a command without a protocol": websocket("exec"),
    "a tunnel for a command": websocket("exec", "SPDY/3.1+portforward.k8s.io"),
    "no key": websocket("exec", "v5.channel.k8s.io", sec_websocket_key=""),
    "an old version": websocket("exec", "v5.channel.k8s.io", sec_websocket_version="8"),
    "SPDY without a version": spdy("exec"),
    "SPDY with a version to come": spdy("exec", "v9.channel.k8s.io"),
    "SPDY's ports without a version": spdy("portforward", "v4.channel.k8s.io"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused_before_the_switch(name: str) -> None:
    """As a bad request, after which kubectl tries its other protocol."""
    with pytest.raises(BadRequest, match="unable to upgrade"):
        negotiate(REFUSED[name])


def test_what_a_client_offers_is_not_repeated_at_length() -> None:
    """The answer is bounded, and a header cannot be injected into it."""
    with pytest.raises(BadRequest) as caught:
        negotiate(spdy("exec", "x" * 8000))
    assert len(caught.value.message) < 500
