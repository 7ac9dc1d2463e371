"""`pinnace-nodeagent join`: from a join token to a certificate of this node's own.

The CA certificate comes over a connection that is not authenticated; its hash, which the administrator passed on with
the token, authenticates it. So exactly the bytes that were hashed are trusted and stored (`pinnace.certificate`). Only then
is the token sent, over a connection that this CA authenticates. The key never leaves the host.
"""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Any

from nodeagent.control import https, keys
from nodeagent.control.credentials import Credentials
from pinnace import certificate, errors, nodename
from pinnace.clock import Clock, pause

# Seconds between tries, doubling, while the control plane is awaited.
RETRY, MAX_RETRY = 0.05, 1.0
MAX_TOKEN = 4096


def read_token(path: str, stdin: Any) -> str:
    """The token in a file, or in a line of standard input for `-`. Raises BadRequest."""
    try:
        text = stdin.readline(MAX_TOKEN) if path == "-" else Path(path).read_text()[:MAX_TOKEN]
    except (OSError, UnicodeDecodeError) as error:
        raise errors.BadRequest(f"--token-file {path}: {error}") from None
    words = text.split()
    if len(words) != 1:
        raise errors.BadRequest(f"--token-file {path}: expected one join token, found {len(words)} words")
    return str(words[0])


def join(
    endpoint: str, *, node: str, token: str, ca_hash: str, folder: Path, clock: Clock, patience: float = 0.0
) -> dict[str, Any]:
    """Get and store an identity in `folder`; returns what the agent's configuration needs. `patience`: seconds to wait for a
    control plane that cannot be reached, or has not noticed yet that the node's former agent is gone. Raises ApiError."""
    _check(endpoint, node, ca_hash)
    deadline, retry = clock.monotonic() + patience, RETRY
    credentials = Credentials(folder)
    # One key for all tries: the control plane may have answered one whose answer was lost.
    request = keys.make(node)
    while True:
        try:
            ca = _fetch_ca(endpoint, ca_hash, clock)
            body = {"node": node, "token": token, "csr": request.csr.decode()}
            answer = https.post(endpoint, "/join", body, ca=ca, clock=clock)
            break
        except (errors.Unavailable, errors.Conflict):
            if clock.monotonic() > deadline:
                raise
            pause(retry)
            retry = min(retry * 2, MAX_RETRY)
    server = _server(answer.get("server"), endpoint)
    credentials.keep_pending(request.key)
    credentials.accept(str(answer.get("certificate")), ca=ca)
    return {"node": node, "server": server, "join": endpoint}


def _check(endpoint: str, node: str, ca_hash: str) -> None:
    """Raises BadRequest."""
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 1 << 16:
        raise errors.BadRequest(f'"{endpoint[:80]}" is not HOST:PORT')
    nodename.check(node)
    if not certificate.is_fingerprint(ca_hash):
        raise errors.BadRequest(f'--ca-hash "{ca_hash[:80]}" is not sha256: and 64 hexadecimal digits')


def _fetch_ca(endpoint: str, ca_hash: str, clock: Clock) -> bytes:
    """The CA certificate with this hash, in PEM of our own making. Raises Unauthenticated for any other."""
    try:
        der = certificate.only(https.get(endpoint, "/ca.pem", clock))
    except ValueError as error:
        raise errors.Unauthenticated(f"{endpoint} did not send a CA certificate: {error}") from None
    pem = certificate.to_pem(der)
    found = certificate.fingerprint(pem)
    if not hmac.compare_digest(found, ca_hash):
        raise errors.Unauthenticated(f"the CA of {endpoint} has the hash {found}, not {ca_hash}: is this the right host?")
    return pem


def _server(answer: Any, endpoint: str) -> str:
    """The gRPC endpoint. A control plane that was started without --advertise names loopback: then it is the join host."""
    server, host = str(answer), endpoint.rpartition(":")[0]
    name, _, port = server.rpartition(":")
    if not name or not port.isascii() or not port.isdigit():
        raise errors.Unavailable(f'the control plane named "{server[:80]}" as its gRPC endpoint, which is not HOST:PORT')
    return f"{host}:{port}" if name == "127.0.0.1" and host not in ("127.0.0.1", "localhost") else server
