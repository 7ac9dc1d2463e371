"""Manifests that are not in files: behind https URLs (`-f URL`), and built from a kustomization (`-k DIR`)."""

from __future__ import annotations

import shutil
import subprocess
import time
from typing import IO, Any

from cli.flags import Kustomization
from pinnace import manifest
from pinnace.errors import BadRequest

# Seconds for one download, from the connection to the last byte, and for a build, which may download bases.
DOWNLOAD_WITHIN = 60.0
BUILD_WITHIN = 300.0
CHUNK = 64 << 10
_PROGRAMS = (("kustomize", "build"), ("kubectl", "kustomize"))


def download(url: str) -> bytes:
    """What an https URL has, as much as one byte more than a manifest may have. Raises OSError that names it."""
    import http.client
    import urllib.error

    deadline = time.monotonic() + DOWNLOAD_WITHIN
    try:
        with _opener().open(url, timeout=DOWNLOAD_WITHIN) as response:
            return _read(response, deadline)
    except urllib.error.HTTPError as error:
        error.close()
        raise OSError(0, f"unable to read URL, server reported {error.code} {error.reason}", url) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise OSError(0, f"unable to read URL: {reason}", url) from None


def _read(response: IO[bytes], deadline: float) -> bytes:
    """Raises TimeoutError, also for a server that sends byte by byte."""
    found = bytearray()
    while len(found) <= manifest.MAX_BYTES:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the download took more than {DOWNLOAD_WITHIN:.0f} s")
        data = response.read1(min(CHUNK, manifest.MAX_BYTES + 1 - len(found)))  # type: ignore[attr-defined]
        if not data:
            break
        found += data
    return bytes(found)


def _opener() -> Any:
    """Of https alone, also after redirects, of which urllib follows ten; with the proxy of the environment."""
    import urllib.request

    class Redirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
            if not newurl.startswith("https://"):
                fp.close()
                raise ValueError(f"redirected to {newurl[:200]}, which is not an https URL")
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    return urllib.request.build_opener(Redirects)


def build(directory: Kustomization) -> bytes:
    """What kustomize makes of a directory. Raises BadRequest where neither it nor kubectl is installed, or the build fails."""
    found = next(((path, word) for name, word in _PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        raise BadRequest(
            "-k needs kustomize or kubectl in $PATH, and neither is there: install one, or build on another machine and use "
            "kctl apply -f FILE"
        )
    try:
        done = subprocess.run(
            [*found, "--", str(directory)], stdin=subprocess.DEVNULL, capture_output=True, timeout=BUILD_WITHIN, check=False
        )
    except subprocess.TimeoutExpired:
        raise BadRequest(f"{directory}: the build took more than {BUILD_WITHIN:.0f} s") from None
    except OSError as error:
        raise BadRequest(f"{found[0]}: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().removeprefix("error: ").removeprefix("Error: ")
        raise BadRequest(f"{directory}: {found[0]} failed: {said[:2000]}")
    return done.stdout[: manifest.MAX_BYTES + 1]
