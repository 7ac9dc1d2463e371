"""HTTP_PROXY, HTTPS_PROXY and NO_PROXY decide as they do for containerd, and a proxy's password appears nowhere."""

from __future__ import annotations

import base64
import logging
import time
from pathlib import Path

import pytest

from nodeagent.images.puller import PullError
from nodeagent.images.registry.config import Endpoint
from nodeagent.images.registry.errors import RegistryError, Unreachable
from nodeagent.images.registry.http import Http
from nodeagent.images.registry.proxies import Proxies, from_environment
from nodeagent.images.store import ImageStore
from pinnace import pki
from pinnace.clock import SystemClock
from tests.support.archives import layer
from tests.support.proxy import proxy
from tests.support.registry import packed, rogue, serving
from tests.unit.nodeagent.images.conftest import MakePuller
from tests.unit.nodeagent.images.pulling import pull

PASSWORD = "p@ss:word/1"
QUOTED = "p%40ss%3Aword%2F1"
BASIC = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()


@pytest.mark.parametrize(
    ("entries", "url", "bypassed"),
    [
        ("", "https://reg.example/", False),
        ("*", "https://reg.example/", True),
        ("other.example", "https://reg.example/", False),
        ("example", "https://reg.example/", True),
        ("eg.example", "https://reg.example/", False),
        ("reg.example", "https://reg.example/", True),
        ("reg.example", "https://a.reg.example/", True),
        (".reg.example", "https://a.reg.example/", True),
        (".reg.example", "https://reg.example/", False),
        ("*.example", "https://reg.example/", True),
        ("*.reg.example", "https://reg.example/", False),
        (" x.example , REG.Example ", "https://reg.example/", True),
        ("reg.example:443", "https://reg.example/", True),
        ("reg.example:443", "https://reg.example:5000/", False),
        ("reg.example:5000", "http://reg.example:5000/", True),
        ("192.0.2.0/24", "https://192.0.2.9:5000/", True),
        ("192.0.2.0/24", "https://192.0.3.9/", False),
        ("192.0.2.9", "https://192.0.2.9/", True),
        ("192.0.2.9:80", "https://192.0.2.9/", False),
        ("192.0.2", "https://192.0.2.9/", False),
        ("2001:db8::/32", "https://[2001:db8::1]:5000/", True),
        ("[2001:db8::1]:5000", "https://[2001:db8::1]:5000/", True),
        ("[2001:db8::1]", "https://[2001:db8::1]:5000/", True),
        ("2001:db8::1", "https://[2001:db8::2]/", False),
        (":443", "https://reg.example/", False),
        ("300.0.0.0/99", "https://reg.example/", False),
        ("", "https://localhost:5000/", True),
        ("", "https://127.9.9.9/", True),
        ("", "https://[::1]/", True),
    ],
)
def test_no_proxy_names_hosts_as_go_reads_it(entries: str, url: str, bypassed: bool) -> None:
    """Domains with and without their own name, addresses, ranges, ports; this host itself never passes a proxy."""
    found = Proxies("http://p:1", "http://p:1", entries).of(url)
    assert (found is None) is bypassed


@pytest.mark.parametrize("upper", [True, False])
def test_either_case_of_the_variables_counts(upper: bool) -> None:
    """The scheme of the request chooses, and a proxy without a scheme is an HTTP one."""
    given = {"HTTP_PROXY": "http://plain:1", "HTTPS_PROXY": "secure:2", "NO_PROXY": "direct.example"}
    proxies = from_environment(given if upper else {name.lower(): value for name, value in given.items()})
    plain, secure = proxies.of("http://reg.example/"), proxies.of("https://reg.example/")
    assert plain is not None
    assert secure is not None
    assert (plain.url, secure.url) == ("http://plain:1", "http://secure:2")
    assert proxies.of("https://direct.example/") is None
    assert from_environment({}).of("https://reg.example/") is None


@pytest.mark.parametrize(
    "value", [f"socks5://me:{QUOTED}@p:1", f"http://me:{QUOTED}@p:port", f"http://me:{QUOTED}@", "http://"]
)
def test_a_proxy_that_cannot_be_one_is_refused_without_its_password(value: str) -> None:
    """The message names the variable, not its value."""
    http = Http(SystemClock(), Proxies(https=value))
    with pytest.raises(RegistryError, match="HTTPS_PROXY is not the URL of a proxy") as caught:
        http.fetch("https://reg.invalid/v2/", {})
    assert QUOTED not in str(caught.value)
    assert PASSWORD not in str(caught.value)


async def test_a_pull_passes_the_proxy_with_its_credentials(
    make: MakePuller, store: ImageStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The registry's name resolves nowhere but behind the proxy; the password is in no log."""
    caplog.set_level(logging.DEBUG)
    image = packed(layer(("file", "behind the proxy")))
    with rogue(serving(image)) as server, proxy(server.address, wants=BASIC) as through:
        proxies = from_environment({"http_proxy": f"http://me:{QUOTED}@{through.address}"})
        puller = make(insecure=("reg.invalid",), proxies=proxies)
        await pull(puller, "reg.invalid/app:1")
    assert store.find("reg.invalid/app:1")
    assert through.asked[0].startswith("GET http://reg.invalid/v2/app/manifests/1 ")
    assert set(through.authorizations) == {BASIC}
    assert not any("Proxy-Authorization" in headers for _, _, headers in server.requests)
    assert "me:" not in caplog.text
    assert BASIC not in caplog.text


async def test_a_proxy_that_refuses_is_named(make: MakePuller) -> None:
    """407 and a proxy that does not answer, without the credentials that were tried."""
    with proxy("127.0.0.1:1", wants="other") as through:
        value = f"http://me:{QUOTED}@{through.address}"
        for reference, variables in (("a.invalid/x:1", "https"), ("a.invalid/x:1", "http")):
            puller = make(insecure=("a.invalid",) if variables == "http" else (), proxies=Proxies(**{variables: value}))
            with pytest.raises(PullError) as caught:
                await pull(puller, reference)
            assert caught.value.reason == "RegistryUnavailable"
            assert f"a.invalid cannot be reached through the proxy {through.address}: " in caught.value.message
            assert "407" in caught.value.message
            assert "me:" not in caught.value.message
    puller = make(proxies=Proxies(https=value))
    with pytest.raises(PullError, match=r"through the proxy 127\.0\.0\.1:.*Connection refused"):
        await pull(puller, "a.invalid/x:1")


def test_https_goes_through_a_tunnel_and_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CONNECT with the registry's name; the certificate is the registry's, not the proxy's."""
    ca = pki.new_ca(time.time())
    pair = pki.issue(ca, "registry", (), now=time.time(), hosts=("reg.invalid",))
    (tmp_path / "server.pem").write_bytes(pair.certificate + pair.key)
    (tmp_path / "ca.pem").write_bytes(ca.certificate)
    with rogue(lambda request: (200, {}, b"{}"), pem=tmp_path / "server.pem") as server, proxy(server.address) as through:
        http = Http(SystemClock(), Proxies(https=f"http://{through.address}"))
        endpoint = Endpoint("https://reg.invalid", "reg.invalid", False)
        with pytest.raises(Unreachable, match="has a certificate that this node does not trust"):
            http.get(endpoint, "/v2/", {})
        http.close()
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        http = Http(SystemClock(), Proxies(https=f"http://{through.address}"))
        response = http.get(endpoint, "/v2/", {})
        assert response.status == 200
        response.close()
        http.close()
    assert through.asked[0].startswith("CONNECT reg.invalid:443 ")
