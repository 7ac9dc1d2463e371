"""A repository at one endpoint: manifests and blobs, verified. Blocks; used from threads."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urljoin, urlsplit

from nodeagent.images.registry import challenge as challenges
from nodeagent.images.registry.config import Endpoint
from nodeagent.images.registry.credentials import Credential, matching
from nodeagent.images.registry.errors import Denied, Missing, RegistryError, Transient
from nodeagent.images.registry.http import Abort, Http
from pinnace.oci import manifest as manifests
from pinnace.oci.manifest import Descriptor
from pinnace.oci.reference import is_digest

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

MAX_TOKEN = 64 << 10
MAX_SCOPES = 8
# The order in which challenges are answered: a token shows a service our password, and not the registry.
_PREFERRED = {"bearer": -2, "basic": -1}
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or index in its own bytes, and their digest."""

    data: bytes
    digest: str


class Repository:
    # What a token is asked for.
    _actions = "pull"

    def __init__(self, http: Http, endpoint: Endpoint, name: str, credentials: Sequence[Credential]) -> None:
        self._http = http
        self._endpoint = endpoint
        self._name = name
        self._credentials = matching(credentials, endpoint.host, name)
        # What the last challenge was answered with; a token may expire, and then it is asked for again.
        self._authorization = ""

    def __str__(self) -> str:
        return f"{self._endpoint.host}/{self._name}"

    def digest(self, version: str) -> str:
        """Of a tag's manifest, without reading it where the registry answers HEAD and says the digest. Raises RegistryError."""
        try:
            response = self._get(f"manifests/{version}", method="HEAD")
        except Transient:
            raise
        except RegistryError:
            # Some refuse the method, with any code; what GET is answered is what counts.
            return self.manifest(version).digest
        response.close()
        found = response.headers.get("Docker-Content-Digest", "")
        return found if is_digest(found) else self.manifest(version).digest

    def manifest(self, version: str, limit: int = manifests.MAX_JSON) -> Document:
        """By tag or digest. Raises RegistryError, also when it is not what its digest says."""
        response = self._get(f"manifests/{version}")
        told = response.headers.get("Docker-Content-Digest", "")
        data = self._http.body(response, limit, f"the manifest of {self}")
        digest = _sha256(data)
        if is_digest(version) and digest != version:
            raise RegistryError(f"the manifest of {self} does not match its digest {version}")
        if is_digest(told) and digest != told:
            raise RegistryError(f"the manifest of {self} does not match the digest that the registry gives, {told}")
        return Document(data, digest)

    def document(self, item: Descriptor) -> bytes:
        """A small blob, such as a config. Raises RegistryError."""
        limit = item.size if 0 <= item.size <= manifests.MAX_JSON else manifests.MAX_JSON
        data = self._http.body(self._get(f"blobs/{item.digest}"), limit, f"blob {item.digest} of {self}")
        if _sha256(data) != item.digest:
            raise RegistryError(f"blob {item.digest} of {self} does not match its digest")
        return data

    def blob(self, item: Descriptor, path: Path, abort: Abort) -> None:
        """Bring a blob to `path`, going on from what is there. Raises RegistryError, Aborted, OSError.

        When it returns the file is the blob. What came of a transfer that broke off stays; what is wrong does not.
        """
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as file:
            have = min(os.fstat(file.fileno()).st_size, item.size)
            file.truncate(have)
            digest = hashlib.sha256()
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
            if have < item.size:
                response = self._get(f"blobs/{item.digest}", {"Range": f"bytes={have}-"} if have else {})
                if have and not _continues(response, have):
                    # It cannot resume: from the beginning.
                    file.seek(0)
                    file.truncate()
                    have, digest = 0, hashlib.sha256()
                for chunk in self._http.chunks(response, abort):
                    have += len(chunk)
                    if have > item.size:
                        break
                    file.write(chunk)
                    digest.update(chunk)
        if have < item.size:
            raise Transient(f"the transfer of blob {item.digest[:19]} ended at {have} of {item.size} bytes")
        if have > item.size or "sha256:" + digest.hexdigest() != item.digest:
            path.unlink(missing_ok=True)
            raise RegistryError(f"blob {item.digest} of {self} does not match its digest")

    def _get(self, path: str, headers: dict[str, str] | None = None, *, method: str = "GET") -> BaseHTTPResponse:
        """A response that is a success. Raises RegistryError."""
        query = "?" + urlencode({"ns": self._endpoint.namespace}) if self._endpoint.namespace else ""
        url = f"/v2/{quote(self._name)}/{path}{query}"
        sent = {"Accept": ", ".join(manifests.ACCEPTED)} if path.startswith("manifests/") else {}
        sent |= headers or {}
        response = self._http.get(self._endpoint, url, sent, method=method, authorization=self._authorization)
        if response.status == 401:
            response = self._authorized(response, url, sent, method)
        if response.status in (200, 206):
            return response
        response.close()
        raise failure(response, f"{self}: {path[:90]}")

    def _authorized(self, refused: BaseHTTPResponse, url: str, headers: dict[str, str], method: str) -> BaseHTTPResponse:
        """The request again, with every credential that is for this repository until one will do."""
        response = refused
        for authorization in self._answers(refused):
            response.close()
            response = self._http.get(self._endpoint, url, headers, method=method, authorization=authorization)
            if response.status not in (401, 403):
                self._authorization = authorization
                return response
        return response

    def _answers(self, refused: BaseHTTPResponse) -> Iterator[str]:
        """What a challenge can be answered with, one after the other. Raises RegistryError."""
        refused.close()
        asked = challenges.parse(refused.headers.get("WWW-Authenticate", ""))
        tried: list[Credential | None] = [*self._credentials] or [None]
        for credential in tried:
            for item in sorted(asked, key=lambda item: _PREFERRED.get(item.scheme, 0)):
                with contextlib.suppress(Denied):
                    if authorization := self._answer(item, credential):
                        yield authorization

    def _answer(self, asked: challenges.Challenge, credential: Credential | None) -> str:
        """To one challenge; empty for none that we have. Raises RegistryError."""
        if asked.scheme == "bearer":
            return "Bearer " + self._token(asked.parameters, credential)
        if asked.scheme == "basic" and credential is not None:
            return _basic(credential)
        return ""

    def _token(self, asked: dict[str, str], credential: Credential | None) -> str:
        """Source: Docker's token authentication specification. Raises RegistryError."""
        # A path is one of the registry's own.
        realm = urljoin(self._http.base(self._endpoint), asked.get("realm", ""))
        parts = urlsplit(realm)
        if parts.scheme != "https" and not (parts.scheme == "http" and self._endpoint.insecure):
            raise RegistryError(f"{self} names a token service at {realm[:200]!r}, which is not HTTPS")
        # What the registry says it wants may be of another name than the one that it was asked by.
        scopes = dict.fromkeys([f"repository:{self._name}:{self._actions}", *asked.get("scope", "").split()[:MAX_SCOPES]])
        service = [("service", asked["service"])] if asked.get("service") else []
        query = urlencode([*service, *(("scope", scope) for scope in scopes)])
        url = f"{realm}{'&' if parts.query else '?'}{query}"
        authorization = _basic(credential) if credential is not None else ""
        response = self._http.fetch(url, {}, authorization=authorization, insecure=self._endpoint.insecure)
        if response.status != 200:
            response.close()
            raise failure(response, f"{parts.netloc}: token for {self._name}")
        answer = manifests.document(self._http.body(response, MAX_TOKEN, "the token"), "the token service's answer")
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or not token.isprintable():
            raise RegistryError(f"{parts.netloc} gives no token for {self._name}")
        return token


def _continues(response: BaseHTTPResponse, start: int) -> bool:
    return response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _basic(credential: Credential) -> str:
    return "Basic " + base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()


def failure(response: BaseHTTPResponse, name: str) -> RegistryError:
    status = response.status
    if status in (401, 403):
        return Denied(f"{name}: access denied ({status}): the image does not exist, or its pull secret is missing or wrong")
    if status == 404:
        return Missing(f"{name}: not found")
    if status in (408, 416, 429) or (status >= 500 and status != 501):
        return Transient(f"{name}: the registry answers {status}")
    return RegistryError(f"{name}: the registry answers {status}")


def _sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
