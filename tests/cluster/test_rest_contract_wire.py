"""The HTTPS port of a control plane process as clients' TLS and HTTP libraries meet it."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.attackers import Attacked, request
from tests.support.planes import Plane, plane

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with plane(tmp_path_factory.mktemp("wire"), "--disable-controller", "scheduler", store="memory") as found:
        yield Attacked(found)


def handshake(found: Plane, *, offers: list[str], strict: bool) -> ssl.SSLSocket:
    """A connection of a client that verifies the server for the address that it dials."""
    context = ssl.create_default_context(cafile=str(found.folder / "pki" / "ca.crt"))
    if strict:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    if offers:
        context.set_alpn_protocols(offers)
    raw = socket.create_connection(("127.0.0.1", found.web), timeout=20)
    return context.wrap_socket(raw, server_hostname="127.0.0.1")


@pytest.mark.parametrize("offers", [["h2", "http/1.1"], ["http/1.1"], []], ids=["go", "python", "upgrades of go"])
@pytest.mark.parametrize("strict", [False, True], ids=["", "as Python 3.13"])
def test_a_client_verifies_the_server_and_speaks_http_1(attacked: Attacked, offers: list[str], strict: bool) -> None:
    """Its certificate has the address and an Authority Key Identifier, and the CA its key usage; HTTP/2 is not agreed on."""
    with handshake(attacked.plane, offers=offers, strict=strict) as sock:
        assert sock.selected_alpn_protocol() in (None, "http/1.1")
        sock.sendall(request("GET", "/version", connection="close"))
        head = b""
        while b"\r\n" not in head:
            head += sock.recv(4096)
    assert head.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/version", "/version/", "/api", "/api/", "/apis", "/apis/"])
def test_paths_that_clients_begin_with(attacked: Attacked, path: str) -> None:
    """With a slash at the end and without, as clients send both. The version is one that kr8s knows, or later."""
    answer = attacked.ask("GET", path)
    assert answer.status == 200
    if path.startswith("/version"):
        found: dict[str, Any] = json.loads(answer.body)
        assert found.keys() >= {"major", "minor", "gitVersion"}
        assert int(found["minor"]) >= 28


def test_an_unknown_path_is_plain_text(attacked: Attacked) -> None:
    """As kube-apiserver's."""
    answer = attacked.ask("GET", "/nothing/here")
    assert (answer.status, answer.body) == (404, b"404 page not found\n")


def test_a_body_of_three_mebibytes_is_the_largest(attacked: Attacked) -> None:
    """One more byte is 413 before anything is read of it."""
    with attacked.connect() as sock:
        sock.sendall(_head((3 << 20) + 1))
        assert sock.recv(64).startswith(b"HTTP/1.1 413")


def _head(length: int) -> bytes:
    return f"POST {MAPS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n".encode()
