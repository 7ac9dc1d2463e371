"""ADD of an HTTP or HTTPS URL, through the proxies that image pulls use.

The agent downloads in the node's network, where services listen on the loopback that are not for whoever may build: an
address of the loopback or of a link is refused, also after a redirect. Source: BuildKit, source/http.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import os
import posixpath
import socket
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from nodeagent.building.errors import BuildError
from nodeagent.images.registry.errors import Aborted, RegistryError
from nodeagent.images.registry.http import Abort, Http
from nodeagent.images.registry.proxies import Proxies
from nodeagent.node import threads
from pinnace.clock import Clock

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

MAX_BYTES = 4 << 30
# Seconds for all of a file.
WITHIN = 3600.0
_UNNAMED = "__unnamed__"


@dataclass(frozen=True, slots=True)
class Download:
    """A file below a directory of its own; `digest` is a sha256 of its content."""

    path: Path
    digest: str


class _NodeHttp(Http):
    """HTTP that does not reach what only this node's own processes should."""

    def _once(self, method: str, url: str, headers: dict[str, str], *, insecure: bool, body: bytes | None) -> BaseHTTPResponse:
        if self._proxies.of(url) is None:
            check_address(url)
        return super()._once(method, url, headers, insecure=insecure, body=body)


class Downloads:
    def __init__(self, clock: Clock, proxies: Proxies) -> None:
        self._http = _NodeHttp(clock, proxies)

    async def fetch(self, url: str, checksum: str, directory: Path) -> Download:
        """Into a file of `directory`, which is made. Raises BuildError, OSError."""
        abort = Abort()
        try:
            async with asyncio.timeout(WITHIN):
                return await threads.builds.run(self._fetch, url, checksum, directory, abort)
        except TimeoutError:
            raise BuildError(f"{url[:200]}: the download took longer than {WITHIN:.0f} s") from None
        finally:
            abort.set()

    def _fetch(self, url: str, checksum: str, directory: Path, abort: Abort) -> Download:
        directory.mkdir(parents=True, mode=0o755)
        path = directory / name_of(url)
        try:
            response = self._http.fetch(url, {})
            if not 200 <= response.status < 300:
                response.close()
                raise BuildError(f"{url[:200]}: invalid response status {response.status}")
            digests = self._save(response, path, abort, checksum.partition(":")[0])
        except Aborted:
            raise BuildError(f"{url[:200]}: the download was stopped") from None
        except RegistryError as error:
            text = str(error).partition(": if it is to be trusted without")[0]
            raise BuildError(f"{url[:200]}: {text}") from None
        if checksum and digests[1] != checksum:
            raise BuildError(f"{url[:200]}: digest mismatch {digests[1]}: {checksum}")
        os.chmod(path, 0o600)
        modified = _modified(response)
        os.utime(path, (modified, modified))
        return Download(path, digests[0])

    def _save(self, response: BaseHTTPResponse, path: Path, abort: Abort, algorithm: str) -> tuple[str, str]:
        """Returns digests by sha256 and by the algorithm of the checksum."""
        hashes = (hashlib.sha256(), hashlib.new(algorithm or "sha256"))
        size = 0
        with open(path, "xb") as file:
            for chunk in self._http.chunks(response, abort):
                size += len(chunk)
                if size > MAX_BYTES:
                    response.close()
                    raise BuildError(f"the file is larger than {MAX_BYTES >> 30} GiB")
                for found in hashes:
                    found.update(chunk)
                file.write(chunk)
        own, other = (f"{found.name}:{found.hexdigest()}" for found in hashes)
        return own, other


def name_of(url: str) -> str:
    """The name of the file: the last part of the URL's path."""
    try:
        name = posixpath.basename(unquote(urlsplit(url).path, errors="surrogateescape"))
    except ValueError:
        name = ""
    return name if name not in ("", ".", "..") and "\0" not in name and len(os.fsencode(name)) < 256 else _UNNAMED


def check_address(url: str) -> None:
    """Raises BuildError for a host that is this node itself or a neighbour on a link."""
    parts = urlsplit(url)
    try:
        host = parts.hostname or ""
        found = socket.getaddrinfo(host, parts.port or parts.scheme, type=socket.SOCK_STREAM)
    except (OSError, ValueError, UnicodeError) as error:
        raise BuildError(f"{url[:200]}: the host cannot be resolved: {error}") from None
    for *_, address in found:
        ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast:
            raise BuildError(f"{url[:200]}: {ip} is an address of the node's own, from which nothing is downloaded")


def _modified(response: BaseHTTPResponse) -> float:
    """Last-Modified in seconds since the epoch, 0 without: the same file has the same time in every build."""
    try:
        return min(max(parsedate_to_datetime(response.headers.get("Last-Modified", "")).timestamp(), 0.0), float(1 << 33))
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
