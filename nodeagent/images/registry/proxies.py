"""Which proxy a request to a registry passes: HTTP_PROXY, HTTPS_PROXY and NO_PROXY as containerd reads them. Pure.

The credentials of a proxy are in its `authorization` alone, so that no message and no log can repeat them.
Source: golang.org/x/net/http/httpproxy, whose rules containerd, Docker and kubelet share.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """`url` is scheme, host and port; `authorization` is the value of Proxy-Authorization, empty for none."""

    url: str
    authorization: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True, slots=True)
class Proxies:
    """Values of the three variables. `http` and `https` are by the scheme of the request, not of the proxy."""

    http: str = field(default="", repr=False)
    https: str = field(default="", repr=False)
    none: str = ""

    def of(self, url: str) -> Proxy | None:
        """The proxy for a request to `url`; None to connect directly. Raises ValueError without the variable's value."""
        scheme = urlsplit(url).scheme
        value = {"http": self.http, "https": self.https}.get(scheme, "")
        if not value or self._bypassed(urlsplit(url)):
            return None
        return _proxy(value, f"{scheme.upper()}_PROXY")

    def _bypassed(self, url: SplitResult) -> bool:
        host = (url.hostname or "").strip().lower()
        port = url.port or _PORTS.get(url.scheme, 0)
        address = _address(host)
        if not host or host == "localhost" or (address is not None and address.is_loopback):
            return True
        return any(_matches(entry.strip().lower(), host, address, port) for entry in self.none.split(","))


def from_environment(environment: Mapping[str, str]) -> Proxies:
    """Upper-case names win over lower-case ones."""

    def read(name: str) -> str:
        return (environment.get(name) or environment.get(name.lower()) or "").strip()

    return Proxies(read("HTTP_PROXY"), read("HTTPS_PROXY"), read("NO_PROXY"))


def _proxy(value: str, variable: str) -> Proxy:
    # Not chained: the text of urlsplit's own errors repeats the URL.
    unusable = f"{variable} is not the URL of a proxy, such as http://proxy.example:3128 (http and https are supported)"
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        raise ValueError(unusable) from None
    if not host or port is None or parts.scheme not in _PORTS:
        raise ValueError(unusable)
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}", authorization)


def _matches(entry: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int) -> bool:
    """Whether an entry of NO_PROXY names the host: `*`, address, range, domain or .domain, the last three with a port."""
    if entry in ("", "*"):
        return entry == "*"
    if "/" in entry:
        return address is not None and _in_range(address, entry)
    name, wanted = _split_port(entry)
    if wanted not in ("", str(port)):
        return False
    if (listed := _address(name)) is not None:
        return address == listed
    name = name.removeprefix("*") if name.startswith("*.") else name
    return bool(name) and (host == name or host.endswith(name if name.startswith(".") else f".{name}"))


def _split_port(entry: str) -> tuple[str, str]:
    name, colon, port = entry.rpartition(":")
    if not colon or _address(entry) is not None or (":" in name and not name.endswith("]")):
        return entry.strip("[]"), ""
    return name.strip("[]"), port


def _in_range(address: ipaddress.IPv4Address | ipaddress.IPv6Address, entry: str) -> bool:
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
