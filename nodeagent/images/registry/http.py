"""One HTTP request to a registry: deadlines, redirects, bounds, and no credential to another host.

urllib3 does HTTP; it is imported with the first request, for an agent that never pulls need not carry it.
"""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from nodeagent.images.registry.config import Endpoint
from nodeagent.images.registry.errors import Aborted, RegistryError, Transient, Unreachable
from nodeagent.images.registry.proxies import Proxies, Proxy
from pinnace.clock import Clock

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

CONNECT_WITHIN = 10.0
# Seconds without a byte.
READ_WITHIN = 30.0
# A sender must keep up at least this rate, in bytes over seconds; a connection that trickles is given up.
PACE_BYTES, PACE_WITHIN = 64 << 10, 60.0
MAX_REDIRECTS = 5
CHUNK = 256 << 10
_ERRNO = re.compile(r"\[Errno -?\d+\] ")
_OBJECT = re.compile(r"^(?:<[^>]*>|HTTPS?Connection(?:Pool)?\([^)]*\)): ")
_REDIRECTS = (301, 302, 303, 307, 308)
_AGENT = "pinnace"


class Abort:
    """Ends a request from another thread."""

    def __init__(self) -> None:
        self._set = threading.Event()
        self._response: BaseHTTPResponse | None = None

    def set(self) -> None:
        self._set.set()
        response = self._response
        if response is not None:
            # Wakes a thread that waits for bytes. ValueError: the response was read to its end meanwhile.
            with contextlib.suppress(ValueError, OSError):
                response.shutdown()

    def watch(self, response: BaseHTTPResponse) -> None:
        self._response = response
        self.check()

    def check(self) -> None:
        """Raises Aborted."""
        if self._set.is_set():
            raise Aborted


class Http:
    """Thread-safe. All methods block."""

    def __init__(self, clock: Clock, proxies: Proxies | None = None) -> None:
        self._clock = clock
        self._proxies = proxies or Proxies()
        # By whether certificates are verified, and by proxy.
        self._pools: dict[tuple[bool, Proxy | None], PoolManager] = {}
        # The scheme that an insecure registry was found to speak, by host.
        self._schemes: dict[str, str] = {}

    def base(self, endpoint: Endpoint) -> str:
        """The endpoint's URL, by the scheme that it was found to speak."""
        scheme, _, rest = endpoint.base.partition(":")
        return f"{self._schemes.get(endpoint.host, scheme)}:{rest}"

    def get(
        self, endpoint: Endpoint, path: str, headers: dict[str, str], *, method: str = "GET", authorization: str = ""
    ) -> BaseHTTPResponse:
        """The response below an endpoint, its body unread, after redirects. Raises RegistryError."""
        url = f"{self.base(endpoint)}{path}"
        try:
            return self.fetch(url, headers, method=method, authorization=authorization, insecure=endpoint.insecure)
        except Unreachable:
            # As Docker does for the insecure list: HTTPS first, then without.
            if not endpoint.insecure or not url.startswith("https"):
                raise
        found = self.fetch(
            "http" + url.removeprefix("https"), headers, method=method, authorization=authorization, insecure=True
        )
        self._schemes[endpoint.host] = "http"
        return found

    def fetch(
        self, url: str, headers: dict[str, str], *, method: str = "GET", authorization: str = "", insecure: bool = False,
        body: bytes | None = None,
    ) -> BaseHTTPResponse:  # fmt: skip
        """Raises RegistryError."""
        origin = urlsplit(url)
        for _ in range(MAX_REDIRECTS + 1):
            here = urlsplit(url)
            same = (here.scheme, here.netloc) == (origin.scheme, origin.netloc)
            sent = {**headers, "User-Agent": _AGENT, "Accept-Encoding": "identity"}
            if authorization and same:
                sent["Authorization"] = authorization
            response = self._once(method, url, sent, insecure=insecure and same, body=body)
            location = response.headers.get("Location")
            follows = _REDIRECTS if method in ("GET", "HEAD") else (307, 308)
            if response.status not in follows or not location:
                return response
            response.close()
            url = urljoin(url, location)
            if urlsplit(url).scheme not in ("https", origin.scheme):
                raise RegistryError(f"{origin.netloc} redirects to {urlsplit(url).scheme or 'nothing'}, which is not followed")
        raise RegistryError(f"{origin.netloc} redirects more than {MAX_REDIRECTS} times")

    def _once(self, method: str, url: str, headers: dict[str, str], *, insecure: bool, body: bytes | None) -> BaseHTTPResponse:
        from urllib3 import exceptions

        try:
            try:
                response = self._request(method, url, headers, insecure=insecure, body=body)
            except exceptions.HTTPError as error:
                # A server may close a connection just when it is used again. Once more is no harm for a method that reads.
                if method not in ("GET", "HEAD") or not _was_closed(error):
                    raise
                response = self._request(method, url, headers, insecure=insecure, body=body)
        except exceptions.ProxyError as error:
            raise Unreachable(_explain_proxy(url, self._proxies.of(url), error)) from None
        except (exceptions.SSLError, exceptions.NewConnectionError, exceptions.ConnectTimeoutError) as error:
            raise Unreachable(_explain(url, error)) from None
        except (exceptions.HTTPError, OSError) as error:
            raise Transient(_explain(url, error)) from None
        except ValueError as error:
            # From urllib3 and idna for a URL that cannot be one, and for a proxy's.
            raise RegistryError(f"{url[:200]}: {error}") from None
        if response.status == 407 and (proxy := self._proxies.of(url)) is not None:
            response.close()
            raise Unreachable(_explain_proxy(url, proxy, OSError("407 Proxy Authentication Required")))
        return response

    def _request(
        self, method: str, url: str, headers: dict[str, str], *, insecure: bool, body: bytes | None
    ) -> BaseHTTPResponse:
        from urllib3 import Timeout

        return self._pool(self._proxies.of(url), insecure=insecure and url.startswith("https:")).request(
            method, url, headers=headers, body=body, preload_content=False, decode_content=False, redirect=False, retries=False,
            timeout=Timeout(connect=CONNECT_WITHIN, read=READ_WITHIN),
        )  # fmt: skip

    def _pool(self, proxy: Proxy | None, *, insecure: bool) -> PoolManager:
        if (insecure, proxy) not in self._pools:
            import urllib3

            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            options: dict[str, Any] = {"num_pools": 8, "maxsize": 4, "cert_reqs": "CERT_NONE" if insecure else "CERT_REQUIRED"}
            if proxy is None:
                self._pools[insecure, proxy] = urllib3.PoolManager(**options)
            else:
                headers = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
                # A context of its own: an insecure registry does not make its proxy one.
                self._pools[insecure, proxy] = urllib3.ProxyManager(
                    proxy.url, proxy_headers=headers, proxy_ssl_context=ssl.create_default_context(), **options
                )
        return self._pools[insecure, proxy]

    def chunks(self, response: BaseHTTPResponse, abort: Abort) -> Iterator[bytes]:
        """The body as it comes. Raises Transient, Aborted."""
        from urllib3 import exceptions

        since, count = self._clock.monotonic(), 0
        try:
            abort.watch(response)
            while data := response.read1(CHUNK, decode_content=False):
                yield data
                abort.check()
                count += len(data)
                if (now := self._clock.monotonic()) - since > PACE_WITHIN:
                    if count < PACE_BYTES:
                        raise Transient(f"fewer than {PACE_BYTES} bytes came in {PACE_WITHIN:.0f} s")
                    since, count = now, 0
        except (exceptions.HTTPError, OSError, ValueError) as error:
            abort.check()
            raise Transient(f"the transfer broke off: {_short(error)}") from None
        finally:
            response.close()

    def body(self, response: BaseHTTPResponse, limit: int, name: str) -> bytes:
        """A whole body. Raises RegistryError when it is larger than `limit` bytes, or slow."""
        data = b""
        for chunk in self.chunks(response, Abort()):
            data += chunk
            if len(data) > limit:
                response.close()
                raise RegistryError(f"{name} is larger than {limit} bytes")
        return data

    def close(self) -> None:
        for pool in self._pools.values():
            pool.clear()


def _was_closed(error: Exception) -> bool:
    """Whether the other side had closed the connection before it answered."""
    causes = (error, *error.args, getattr(error, "original_error", None))
    inner = [item for cause in causes if isinstance(cause, Exception) for item in (cause, *cause.args)]
    # http.client's RemoteDisconnected is a ConnectionResetError; importing it takes a megabyte.
    return any(isinstance(item, (ConnectionResetError, BrokenPipeError)) for item in inner)


def _explain(url: str, error: Exception) -> str:
    host, text = urlsplit(url).netloc, _short(error)
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text:
        return f"{host} does not speak HTTPS: if it is to be trusted without, name it with --insecure-registry {host}"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"{host} has a certificate that this node does not trust ({text})"
    return f"{host} cannot be reached: {text}"


def _explain_proxy(url: str, proxy: Proxy | None, error: Exception) -> str:
    cause = getattr(error, "original_error", error)
    through = proxy.address if proxy is not None else "none"
    return f"{urlsplit(url).netloc} cannot be reached through the proxy {through}: {_short(cause)}"


def _short(error: Exception) -> str:
    """Without the objects that urllib3 puts before what happened."""
    reason = getattr(error, "reason", None)
    text = str(reason if reason is not None and str(reason) else error)
    return _ERRNO.sub("", _OBJECT.sub("", text))[:300] or type(error).__name__
