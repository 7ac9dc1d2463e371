"""One HTTP request to a registry: deadlines, redirects, bounds, and no credential to another host.

urllib3 does HTTP; it is imported with the first request, for an agent that never pulls need not carry it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from nodeagent.images.registry.config import Endpoint
from nodeagent.images.registry.errors import Aborted, RegistryError, Transient, Unreachable
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
            # Wakes a thread that waits for bytes.
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

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pools: dict[bool, PoolManager] = {}
        # The scheme that an insecure registry was found to speak, by host.
        self._schemes: dict[str, str] = {}

    def get(
        self, endpoint: Endpoint, path: str, headers: dict[str, str], *, method: str = "GET", authorization: str = ""
    ) -> BaseHTTPResponse:
        """The response below an endpoint, its body unread, after redirects. Raises RegistryError."""
        scheme, _, rest = endpoint.base.partition(":")
        url = f"{self._schemes.get(endpoint.host, scheme)}:{rest}{path}"
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
        self, url: str, headers: dict[str, str], *, method: str = "GET", authorization: str = "", insecure: bool = False
    ) -> BaseHTTPResponse:
        """Raises RegistryError."""
        origin = urlsplit(url)
        for _ in range(MAX_REDIRECTS + 1):
            here = urlsplit(url)
            same = (here.scheme, here.netloc) == (origin.scheme, origin.netloc)
            sent = {**headers, "User-Agent": _AGENT, "Accept-Encoding": "identity"}
            if authorization and same:
                sent["Authorization"] = authorization
            response = self._once(method, url, sent, insecure=insecure and same)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location:
                return response
            response.close()
            url = urljoin(url, location)
            if urlsplit(url).scheme not in ("https", origin.scheme):
                raise RegistryError(f"{origin.netloc} redirects to {urlsplit(url).scheme or 'nothing'}, which is not followed")
        raise RegistryError(f"{origin.netloc} redirects more than {MAX_REDIRECTS} times")

    def _once(self, method: str, url: str, headers: dict[str, str], *, insecure: bool) -> BaseHTTPResponse:
        from urllib3 import Timeout, exceptions

        try:
            return self._pool(insecure=insecure).request(
                method, url, headers=headers, preload_content=False, decode_content=False, redirect=False, retries=False,
                timeout=Timeout(connect=CONNECT_WITHIN, read=READ_WITHIN),
            )  # fmt: skip
        except (exceptions.SSLError, exceptions.NewConnectionError, exceptions.ConnectTimeoutError) as error:
            raise Unreachable(_explain(url, error)) from None
        except (exceptions.HTTPError, OSError) as error:
            raise Transient(_explain(url, error)) from None
        except ValueError as error:
            # What urllib3 and idna raise for a URL that cannot be one.
            raise RegistryError(f"{url[:200]}: {error}") from None

    def _pool(self, *, insecure: bool) -> PoolManager:
        if insecure not in self._pools:
            import urllib3

            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            self._pools[insecure] = urllib3.PoolManager(
                num_pools=8, maxsize=4, cert_reqs="CERT_NONE" if insecure else "CERT_REQUIRED"
            )
        return self._pools[insecure]

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


def _explain(url: str, error: Exception) -> str:
    host, text = urlsplit(url).netloc, _short(error)
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text:
        return f"{host} does not speak HTTPS: if it is to be trusted without, name it with --insecure-registry {host}"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"{host} has a certificate that this node does not trust ({text})"
    return f"{host} cannot be reached: {text}"


def _short(error: Exception) -> str:
    """Without the objects that urllib3 puts before what happened."""
    reason = getattr(error, "reason", None)
    text = str(reason if reason is not None and str(reason) else error)
    return _ERRNO.sub("", _OBJECT.sub("", text))[:300] or type(error).__name__
