"""Where a name is looked for: the mirrors of its registry in order, then the registry itself. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from nodeagent.images.registry.proxies import Proxies
from pinnace.oci.reference import DOCKER_HUB, Reference

_HUB_API = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`base` is the URL above /v2/, `host` its host and port. `insecure`: plain HTTP or an unverified certificate will do.

    `namespace` is the registry that a mirror stands in for, empty for the registry itself.
    """

    base: str
    host: str
    insecure: bool
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Registries:
    """`mirrors`: URLs by the host that they stand in for. `insecure`: hosts, host:port, or ranges (10.0.0.0/8)."""

    mirrors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    insecure: Sequence[str] = ()
    proxies: Proxies = field(default_factory=Proxies)

    def endpoints(self, reference: Reference) -> list[Endpoint]:
        found = [self._mirror(url, reference.host) for url in self.mirrors.get(reference.host, ())]
        host = _HUB_API if reference.host == DOCKER_HUB else reference.host
        # The scheme of an insecure registry is found out (`http`).
        return [*found, Endpoint(f"https://{host}", host, self._insecure(host))]

    def _mirror(self, url: str, host: str) -> Endpoint:
        parts = urlsplit(url)
        plain = parts.scheme == "http"
        return Endpoint(url.rstrip("/"), parts.netloc, plain or self._insecure(parts.netloc), namespace=host)

    def _insecure(self, netloc: str) -> bool:
        name = urlsplit(f"//{netloc}").hostname or ""
        return name == "localhost" or netloc in self.insecure or name in self.insecure or self._in_range(name)

    def _in_range(self, name: str) -> bool:
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # As Docker has it: what stays on this host needs no certificate.
        return address.is_loopback or any(address in network for network in _networks(self.insecure))


def _networks(items: Sequence[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(item, strict=False) for item in items if "/" in item]


def mirror(text: str) -> tuple[str, str]:
    """Host and URL of `HOST=URL`. Raises ValueError."""
    host, _, url = text.partition("=")
    parts = urlsplit(url)
    if not host or "/" in host or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{text!r} is not HOST=URL, such as docker.io=https://mirror.example.com")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(f"the mirror of {host} may have no user, query or fragment in its URL")
    return host, url


def insecure(text: str) -> str:
    """An entry of the insecure list. Raises ValueError."""
    if "/" in text:
        ipaddress.ip_network(text, strict=False)
    elif not text or urlsplit(f"//{text}").netloc != text:
        raise ValueError(f"{text!r} is not a host, host:port or range of addresses")
    return text
