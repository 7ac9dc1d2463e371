"""`pinnace-nodeagent join`: from a one-time token to a certificate of this node's own.

The CA certificate comes over a connection that nothing vouches for; its hash, which the administrator passed on with
the token, does. Only then is the token shown, over a connection that the CA vouches for. The key never leaves the host.
"""

from __future__ import annotations

import hmac
import json
import socket
import ssl
from pathlib import Path
from typing import Any

import h11

from pinnace import errors, pki

# Seconds for one request; bytes of an answer.
DEADLINE = 15.0
MAX_ANSWER = 64 << 10


def join(endpoint: str, *, node: str, token: str, ca_hash: str, folder: Path) -> dict[str, Any]:
    """Get and keep an identity; returns what the agent's configuration needs. Raises ApiError."""
    ca = _request(endpoint, "GET", "/ca.pem", b"", ca=None)
    try:
        shown = pki.fingerprint(ca)
    except ValueError:
        raise errors.Unauthenticated(f"{endpoint} did not send a certificate") from None
    if not hmac.compare_digest(shown, ca_hash):
        raise errors.Unauthenticated(f"the CA of {endpoint} has the hash {shown}, not {ca_hash}: is this the right host?")
    request = pki.new_csr(f"system:node:{node}", ("system:nodes",))
    body = json.dumps({"node": node, "token": token, "csr": request.certificate.decode()}).encode()
    answer: dict[str, Any] = json.loads(_request(endpoint, "POST", "/join", body, ca=ca))
    pki.write_private(folder / "node.key", request.key)
    pki.write_private(folder / "node.crt", answer["certificate"].encode())
    pki.write_private(folder / "ca.crt", ca)
    host = endpoint.rpartition(":")[0]
    server = answer["server"]
    if server.startswith("127.0.0.1:") and host not in ("127.0.0.1", "localhost"):
        server = f"{host}:{server.rpartition(':')[2]}"
    return {"node": node, "server": server}


def _request(endpoint: str, method: str, path: str, body: bytes, *, ca: bytes | None) -> bytes:
    """One HTTPS request. Without `ca` the peer is not verified: for the CA certificate itself, which a hash checks."""
    host, _, port = endpoint.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=ca.decode())
    try:
        with (
            socket.create_connection((host, int(port)), timeout=DEADLINE) as raw,
            context.wrap_socket(raw, server_hostname=pki.SERVER_NAME) as sock,
        ):
            return _exchange(sock, method, path, body)
    except (OSError, ValueError, h11.RemoteProtocolError) as error:
        raise errors.Unavailable(f"cannot reach {endpoint}: {error}") from None


def _exchange(sock: ssl.SSLSocket, method: str, path: str, body: bytes) -> bytes:
    connection = h11.Connection(h11.CLIENT)
    headers = [("host", pki.SERVER_NAME), ("content-length", str(len(body))), ("connection", "close")]
    for event in (h11.Request(method=method, target=path, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
        sock.sendall(connection.send(event) or b"")
    status, answer = 0, b""
    while True:
        event_ = connection.next_event()
        if event_ is h11.NEED_DATA:
            connection.receive_data(sock.recv(16 << 10))
        elif isinstance(event_, h11.Response):
            status = event_.status_code
        elif isinstance(event_, h11.Data):
            answer += bytes(event_.data)
            if len(answer) > MAX_ANSWER:
                raise errors.Unavailable("the answer is too large")
        elif isinstance(event_, h11.EndOfMessage):
            break
        else:
            raise errors.Unavailable("the connection ended early")
    if status != 200:
        _refuse(answer)
    return answer


def _refuse(answer: bytes) -> None:
    try:
        told = json.loads(answer)
    except ValueError:
        raise errors.Unavailable("the control plane refused without saying why") from None
    raise errors.BY_REASON.get(told.get("reason"), errors.Internal)(str(told.get("message")))
