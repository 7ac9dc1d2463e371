"""Upgrades: which protocol a request and this server have in common, and the response that switches to it.

The client's order decides between versions. An upgrade that is refused is answered as an ordinary request, and kubectl then
tries SPDY.

Source: RFC 6455, section 4.2; k8s.io/apimachinery's util/httpstream; KEP-4006.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from controlplane.rest.streams.interface import StreamRequest
from pinnace.errors import BadRequest

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
PORT_FORWARD = "portforward.k8s.io"
TUNNEL = "SPDY/3.1+portforward.k8s.io"
SPDY_VERSION = "x-stream-protocol-version"
# Of exec and attach over SPDY: v3 has resizes, v4 a Status, v5 is the same as v4.
SPDY_COMMANDS = (V5, V4, "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")


class Transport(enum.Enum):
    SPDY = "SPDY/3.1"
    WEBSOCKET = "websocket"


@dataclass(frozen=True, slots=True)
class Agreement:
    """`protocol` is the negotiated one, or empty; `response` the head of the response that switches to it."""

    transport: Transport
    protocol: str
    response: bytes


def negotiate(request: StreamRequest) -> Agreement:
    """Raises BadRequest."""
    upgrades = [word.lower() for word in request.words("upgrade")]
    if "upgrade" not in (word.lower() for word in request.words("connection")):
        upgrades = []
    commands = request.subresource != "portforward"
    if Transport.WEBSOCKET.value in upgrades:
        return _websocket(request, (V5, V4) if commands else (TUNNEL, V5, V4), required=commands)
    if Transport.SPDY.value.lower() in upgrades:
        return _spdy(request, SPDY_COMMANDS if commands else (PORT_FORWARD,))
    raise BadRequest(f"unable to upgrade: pods/{request.subresource} needs an upgrade to websocket or SPDY/3.1")


def _spdy(request: StreamRequest, known: tuple[str, ...]) -> Agreement:
    protocol = _common(request.words(SPDY_VERSION), known, header="X-Stream-Protocol-Version")
    headers = {"Upgrade": Transport.SPDY.value, "X-Stream-Protocol-Version": protocol}
    return Agreement(Transport.SPDY, protocol, _switching(headers))


def _websocket(request: StreamRequest, known: tuple[str, ...], *, required: bool) -> Agreement:
    from controlplane.rest.streams.websocket import accept_token

    token = accept_token("".join(request.words("sec-websocket-key")))
    if request.method != "GET" or token is None or request.words("sec-websocket-version") != ["13"]:
        raise BadRequest("unable to upgrade: not an opening handshake of WebSocket version 13")
    headers = {"Upgrade": Transport.WEBSOCKET.value, "Sec-WebSocket-Accept": token}
    offered = request.words("sec-websocket-protocol")
    protocol = _common(offered, known, header="Sec-WebSocket-Protocol") if offered or required else ""
    if protocol:
        headers["Sec-WebSocket-Protocol"] = protocol
    return Agreement(Transport.WEBSOCKET, protocol, _switching(headers))


def _common(offered: list[str], known: tuple[str, ...], *, header: str) -> str:
    found = next((item for item in offered if item in known), None)
    if found is None:
        shown = ", ".join(offered)[:200]
        raise BadRequest(f"unable to upgrade: {header}: client supports [{shown}], server accepts [{', '.join(known)}]")
    return found


def _switching(headers: dict[str, str]) -> bytes:
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Connection: Upgrade",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
