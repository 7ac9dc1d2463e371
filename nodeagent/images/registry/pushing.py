"""A repository that is written to: blobs that it lacks, mounted or uploaded in chunks, then manifests. Blocks; for threads.

Source: the OCI distribution-spec ("Pushing blobs", "Pushing manifests", "Mounting a blob from another repository").
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote, urljoin, urlsplit

from nodeagent.images.registry.client import Repository, failure
from nodeagent.images.registry.errors import RegistryError, Transient
from pinnace.oci.manifest import Descriptor

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

# Bytes of one request; a smaller blob is sent in one.
CHUNK = 8 << 20
# Requests of one blob that may fail one after the other.
MAX_FUTILE = 5


class Lost(Transient):
    """The registry does not know the upload any more: it begins again."""


class WritableRepository(Repository):
    _actions = "pull,push"

    def has(self, digest: str) -> bool:
        """Whether a blob need not be sent. A registry that does not answer HEAD is sent it. Raises RegistryError."""
        try:
            self._get(f"blobs/{digest}", method="HEAD").close()
        except Transient:
            raise
        except RegistryError:
            return False
        return True

    def put(self, item: Descriptor, path: Path, mount: str = "") -> None:
        """Send a blob, or have the registry take it from its repository `mount`. Raises RegistryError, OSError."""
        with open(path, "rb") as file:
            place, futile, at = self._begin(item, mount), 0, 0
            while place:
                try:
                    before = at
                    place, at = self._continue(place, item, file, at)
                    futile = 0 if at > before else futile + 1
                except Lost:
                    futile, at = futile + 1, 0
                    place = self._begin(item, "")
                except Transient:
                    futile += 1
                    if futile >= MAX_FUTILE:
                        raise
                    place, at = self._resumed(place, at)
                if futile >= MAX_FUTILE:
                    raise RegistryError(f"{self}: the upload of blob {item.digest[:19]} makes no progress at {at} bytes")

    def _begin(self, item: Descriptor, mount: str) -> str:
        """Where an upload goes; empty when the blob is there already. Raises RegistryError."""
        query = f"?mount={quote(item.digest)}&from={quote(mount)}" if mount else ""
        response = self._send("POST", f"/v2/{quote(self._name)}/blobs/uploads/{query}", {"Content-Length": "0"}, b"")
        response.close()
        if response.status == 201:
            return ""
        return self._place(response, 202)

    def _continue(self, place: str, item: Descriptor, file: BinaryIO, at: int) -> tuple[str, int]:
        """The next chunk, which with the last is the end (empty place). Raises RegistryError."""
        file.seek(at)
        data = file.read(CHUNK)
        last = at + len(data) >= item.size
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(data))}
        if at or not last:
            headers["Content-Range"] = f"{at}-{at + len(data) - 1}"
        if last:
            url = f"{place}{'&' if urlsplit(place).query else '?'}digest={quote(item.digest)}"
            response = self._send("PUT", url, headers, data)
            response.close()
            if response.status == 404:
                raise Lost(f"{self}: the upload of blob {item.digest[:19]} is gone")
            if response.status not in (201, 204):
                raise failure(response, f"{self}: blob {item.digest[:19]}")
            return "", item.size
        response = self._send("PATCH", place, headers, data)
        response.close()
        if response.status == 404:
            raise Lost(f"{self}: the upload of blob {item.digest[:19]} is gone")
        following = self._place(response, 202)
        return following, _received(response, at + len(data))

    def _resumed(self, place: str, at: int) -> tuple[str, int]:
        """Where an upload that broke off continues. Raises RegistryError."""
        response = self._send("GET", place, {}, None)
        response.close()
        if response.status in (404, 405):
            raise Lost(f"{self}: an upload is gone")
        if response.status not in (202, 204):
            raise failure(response, f"{self}: upload")
        location = response.headers.get("Location")
        return (urljoin(place, location) if location else place), _received(response, at)

    def _place(self, response: BaseHTTPResponse, wanted: int) -> str:
        location = response.headers.get("Location")
        if response.status != wanted:
            raise failure(response, f"{self}: upload")
        if not location:
            raise RegistryError(f"{self}: the registry returned no upload location")
        return urljoin(f"{self._http.base(self._endpoint)}/", location)

    def put_manifest(self, data: bytes, kind: str, version: str) -> None:
        """Raises RegistryError."""
        url = f"/v2/{quote(self._name)}/manifests/{version}"
        response = self._send("PUT", url, {"Content-Type": kind, "Content-Length": str(len(data))}, data)
        said = b""
        if response.status not in (200, 201, 202):
            said = self._http.body(response, 4096, "the answer")
        response.close()
        if response.status not in (200, 201, 202):
            error = failure(response, f"{self}:{version}")
            raise type(error)(f"{error} {said[:200].decode(errors='replace')}".strip())

    def _send(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> BaseHTTPResponse:
        """One request, authorized. Raises RegistryError."""
        self._find_scheme()
        url = urljoin(f"{self._http.base(self._endpoint)}/", url)
        here = urlsplit(url).netloc == urlsplit(self._http.base(self._endpoint)).netloc
        insecure = self._endpoint.insecure and here

        def once(authorization: str) -> BaseHTTPResponse:
            return self._http.fetch(
                url, headers, method=method, authorization=authorization if here else "", insecure=insecure, body=body
            )

        response = once(self._authorization)
        if response.status == 401 and here:
            for authorization in self._answers(response):
                response.close()
                response = once(authorization)
                if response.status not in (401, 403):
                    self._authorization = authorization
                    break
        return response

    def _find_scheme(self) -> None:
        """An insecure registry may speak HTTP alone: found out with a request that has no body."""
        if self._endpoint.insecure:
            self._http.get(self._endpoint, "/v2/", {}).close()


def _received(response: BaseHTTPResponse, otherwise: int) -> int:
    """Bytes that the registry has, by its Range (0-N)."""
    text = response.headers.get("Range", "").removeprefix("bytes=")
    first, _, last = text.partition("-")
    if first != "0" or not last.isdigit() or len(last) > 15:
        return otherwise
    # Distribution says 0-0 for nothing.
    return int(last) + 1 if int(last) else 0
