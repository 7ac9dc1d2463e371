"""Certificates of registries: the system's authorities and the name decide, unless the registry is listed as insecure."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from nodeagent.images.registry.config import Endpoint
from nodeagent.images.registry.errors import RegistryError, Unreachable
from nodeagent.images.registry.http import Http
from pinnace import pki
from pinnace.clock import SystemClock
from tests.support.registry import Rogue, rogue


@pytest.fixture
def ca() -> pki.Pair:
    return pki.new_ca(time.time())


@pytest.fixture
def http() -> Http:
    return Http(SystemClock())


@pytest.fixture
def pem(tmp_path: Path, ca: pki.Pair) -> Path:
    """For 127.0.0.1 and no other name."""
    pair = pki.issue(ca, "registry", (), now=time.time(), hosts=("127.0.0.1",))
    path = tmp_path / "server.pem"
    path.write_bytes(pair.certificate + pair.key)
    return path


def status(http: Http, server: Rogue, *, host: str = "127.0.0.1", insecure: bool = False) -> int:
    netloc = f"{host}:{server.address.rpartition(':')[2]}"
    response = http.get(Endpoint(f"https://{netloc}", netloc, insecure), "/v2/", {})
    response.close()
    return response.status


def test_an_unknown_authority_is_refused(http: Http, pem: Path) -> None:
    """With what is wrong, and no word of a way around it: it may be an attack."""
    with rogue(lambda request: (200, {}, b"{}"), pem=pem) as server:
        with pytest.raises(Unreachable, match="has a certificate that this node does not trust"):
            status(http, server)
        assert server.requests == []


def test_the_system_s_authorities_are_trusted(
    http: Http, pem: Path, ca: pki.Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OpenSSL finds them; a certificate for another name is not enough."""
    (tmp_path / "ca.pem").write_bytes(ca.certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with rogue(lambda request: (200, {}, b"{}"), pem=pem) as server:
        assert status(http, server) == 200
        with pytest.raises(Unreachable, match="has a certificate that this node does not trust"):
            status(http, server, host="localhost")


def test_a_listed_registry_may_have_any_certificate(http: Http, pem: Path) -> None:
    """HTTPS is still what is spoken."""
    with rogue(lambda request: (200, {}, b"{}"), pem=pem) as server:
        assert status(http, server, insecure=True) == 200


def test_a_redirect_never_leaves_https(http: Http, pem: Path) -> None:
    """To plain HTTP it is refused, as an attacker would want it followed."""
    elsewhere = (302, {"Location": "http://127.0.0.1:1/x"}, b"")
    with rogue(lambda request: elsewhere, pem=pem) as server, pytest.raises(RegistryError, match="redirects to http"):
        http.fetch(f"https://{server.address}/", {}, insecure=True)
