"""What `kctl proxy` passes on, and what it keeps from the API."""

from __future__ import annotations

import h11
import pytest

from cli.localproxy import Filter, patterns

PODS = "/api/v1/namespaces/default/pods"


def request(target: str = "/api", method: str = "GET", **headers: str) -> h11.Request:
    named = {"host": "127.0.0.1:8001", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return h11.Request(method=method, target=target, headers=list(named.items()))


@pytest.mark.parametrize("host", ["localhost", "localhost:8001", "127.0.0.1:1", "[::1]", "[::1]:8001"])
def test_hosts_of_this_machine_are_accepted(host: str) -> None:
    """As kubectl's defaults have it; pages that were loaded from here may ask too."""
    assert Filter().accepts(request(host=host))
    assert Filter().accepts(request(host=host, origin=f"http://{host}", sec_fetch_site="same-origin"))


@pytest.mark.parametrize("headers", [
    {"host": "evil.example"}, {"host": "localhost.evil.example:8001"}, {"host": ""}, {"host": "127.0.0.1.evil.example"},
    {"origin": "https://evil.example"}, {"origin": "null"}, {"sec_fetch_site": "cross-site"},
])  # fmt: skip
def test_pages_from_elsewhere_are_kept_away(headers: dict[str, str]) -> None:
    """By a name that leads here (DNS rebinding), or by a form or script that sends here."""
    assert not Filter().accepts(request(**headers))


@pytest.mark.parametrize("target", [
    f"{PODS}/web/exec?command=ls", f"{PODS}/web/attach", f"/{PODS}/web/exec", f"{PODS}/web/%65xec", "/%61pi/v1/namespaces/a/pods/b/exec",
])  # fmt: skip
def test_commands_are_kept_away(target: str) -> None:
    """In every spelling that the API understands."""
    assert not Filter().accepts(request(target))
    assert Filter(reject_paths=()).accepts(request(target))


def test_a_filter_of_ones_own() -> None:
    """Paths and methods, by regular expressions."""
    found = Filter(accept_paths=patterns("^/api/v1/pods,^/version"), reject_methods=patterns("POST,PUT"))
    assert found.accepts(request("/version"))
    assert not found.accepts(request("/apis"))
    assert not found.accepts(request("/api/v1/pods", "POST"))
