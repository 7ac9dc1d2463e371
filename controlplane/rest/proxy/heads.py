"""Heads of proxied messages: what of a request a pod gets, and what of a pod's response the client gets. Pure.

A pod learns nothing that would let it act as the client: no credentials, no cookies, no claims of other proxies about who asks.
The client's browser learns nothing from the pod that would hold for the API server: no cookies, no policies of its origin.
Both heads are written anew from parsed names and values, so that neither side can put a line into the other's.

Source: RFC 9110, section 7.6.1 (hop-by-hop fields); k8s.io/apimachinery's pkg/util/proxy for X-Forwarded-* and Location.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit, urlunsplit

from controlplane.http.messages import Request

Headers = list[tuple[str, str]]
_HOP_BY_HOP = frozenset((
    "connection", "keep-alive", "proxy-authenticate", "proxy-authentication-info", "proxy-authorization", "proxy-connection",
    "te", "trailer", "transfer-encoding", "upgrade",
))  # fmt: skip
# Of requests: what this server sets itself, and who the client is.
_NOT_TO_PODS = frozenset((
    "authorization", "cookie", "cookie2", "host", "content-length", "expect", "forwarded", "http2-settings", "via", "x-real-ip",
))  # fmt: skip
# Credentials and claims by their first letters: of impersonation, of authenticating proxies, of other proxies.
_CLAIMS = ("impersonate-", "x-remote-", "x-forwarded-", "x-client-cert", "ssl-client-")
# Of responses: what a browser would hold against every page of the API server. Kubernetes drops those of CORS too.
_NOT_TO_CLIENTS = frozenset((
    "set-cookie", "set-cookie2", "strict-transport-security", "public-key-pins", "alt-svc", "clear-site-data",
    "access-control-allow-origin", "access-control-allow-credentials", "access-control-allow-headers",
    "access-control-allow-methods", "service-worker-allowed",
))  # fmt: skip
# Of responses whose body is changed on its way: what holds for the bytes that the pod sent.
_OF_BYTES = frozenset(("accept-ranges", "content-digest", "content-length", "content-md5", "digest"))
_HTML = "text/html"


@dataclass(frozen=True, slots=True)
class Site:
    """A proxied port in both worlds: `authority` is its host and port for the pod, `base` its path in the API, `host` that
    which the client calls the API by."""

    authority: str
    base: str
    host: str = ""


def websocket(request: Request) -> bool:
    """Whether the client asks for a WebSocket, the only protocol that is switched to."""
    upgrades = _words(request.headers, "upgrade")
    asked = request.method == "GET" and upgrades == ["websocket"] and "upgrade" in _words(request.headers, "connection")
    return asked and request.incoming is None and not request.body


def to_pod(request: Request, site: Site) -> Headers:
    """The head of the request for the pod."""
    left_out = _HOP_BY_HOP | _NOT_TO_PODS | set(_words(request.headers, "connection"))
    found: Headers = [("Host", site.authority)]
    if _HTML in request.header("accept"):
        # A page is to come as it is, so that its links can be changed.
        left_out |= {"accept-encoding"}
        found.append(("Accept-Encoding", "identity"))
    for name, values in request.headers.items():
        # CGI's rules, which many servers follow, make - and _ the same.
        known = name.replace("_", "-")
        if known not in left_out and not known.startswith(_CLAIMS):
            found += ((name.title(), value) for value in values)
    return found + _forwarded(request) + _framing(request) + _connection(request)


def _forwarded(request: Request) -> Headers:
    # An IPv6 peer is known by its /64.
    client = request.peer.partition("/")[0]
    return [
        *([("X-Forwarded-For", client)] if client else []),
        *([("X-Forwarded-Host", host)] if (host := request.header("host")) else []),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Uri", request.path),
    ]


def _framing(request: Request) -> Headers:
    if request.incoming is not None and "transfer-encoding" in request.headers:
        return [("Transfer-Encoding", "chunked")]
    if request.incoming is not None:
        return [("Content-Length", request.header("content-length"))]
    if request.body or request.method not in ("GET", "HEAD", "OPTIONS", "DELETE"):
        return [("Content-Length", str(len(request.body)))]
    return []


def _connection(request: Request) -> Headers:
    return [("Connection", "Upgrade"), ("Upgrade", "websocket")] if websocket(request) else [("Connection", "close")]


def is_page(headers: Iterable[tuple[bytes, bytes]], *, status: int) -> bool:
    """Whether a response is a whole document of HTML that can be read as it is."""
    names = _named(headers)
    kind, _, parameters = next(iter(names.get("content-type", ())), "").partition(";")
    whole = status not in (204, 206, 304) and not set(_words(names, "content-encoding")) - {"identity"}
    return whole and kind.strip().lower() == _HTML and "utf-16" not in parameters.lower()


def to_client(headers: Iterable[tuple[bytes, bytes]], site: Site, *, status: int) -> Headers:
    """The headers of a pod's response, with the length of its body where the pod has said it, and it does not change."""
    headers = list(headers)
    names = _named(headers)
    named = [(name.decode("ascii").lower(), value.decode("latin-1")) for name, value in headers]
    left_out = _HOP_BY_HOP | _NOT_TO_CLIENTS | set(_words(names, "connection"))
    if "transfer-encoding" in names or status == 204:
        left_out |= {"content-length"}
    if is_page(headers, status=status):
        left_out |= _OF_BYTES
    kept = [(name, value) for name, value in named if name not in left_out]
    return [(name, location(value, site) if name == "location" else value) for name, value in kept]


def _named(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name, value in headers:
        names.setdefault(name.decode("ascii").lower(), []).append(value.decode("latin-1"))
    return names


def location(value: str, site: Site) -> str:
    """Where a redirect or a link leads: a path of the pod's is one below the API's; another host, or a relative path, stays."""
    try:
        parts = urlsplit(value)
    except ValueError:
        return value
    path = parts.path or ("/" if parts.netloc else "")
    if not _is_own(parts, site) or not path.startswith("/") or path.startswith(f"{site.base}/"):
        return value
    return urlunsplit(("", "", site.base + path, parts.query, parts.fragment))


def _is_own(url: SplitResult, site: Site) -> bool:
    """Whether a URL has no host, or that of the pod, as the pod or as the client knows it."""
    if not url.netloc:
        return not url.scheme
    return url.netloc in (site.authority, site.host) and url.scheme in ("", "http", "https")


def _words(headers: Mapping[str, list[str]], name: str) -> list[str]:
    """The lower-case words of a header that is a comma-separated list, of all its lines."""
    return [word.strip().lower() for line in headers.get(name, ()) for word in line.split(",") if word.strip()]
