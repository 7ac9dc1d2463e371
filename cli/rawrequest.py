"""A GET of the REST API as it is, for `kctl get --raw`: over HTTPS, with the certificates of the context."""

from __future__ import annotations

import http.client
import json
import os
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from cli.contexts import Context
from pinnace import errors
from pinnace.errors import ApiError, BadRequest, Internal, NotFound, Unavailable

# Seconds until the response begins; a watch lasts until its end.
WITHIN = 30.0
CHUNK = 64 << 10
MAX_ERROR = 1 << 20


def get(context: Context, path: str, write: Callable[[bytes], object]) -> None:
    """Hand the body to `write` as it comes. Raises BadRequest, Unavailable, and the ApiError that the server answers."""
    found = urlsplit(server(context))
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
        raise BadRequest(f'--raw: "{path[:200]}" is not a path such as /version or /api/v1/pods?limit=1')
    connection = http.client.HTTPSConnection(str(found.hostname), found.port or 443, timeout=WITHIN, context=tls(context))
    try:
        connection.request("GET", path, headers={"Accept": "application/json, */*"})
        response = connection.getresponse()
        if response.status >= 400:
            raise _error(response)
        if connection.sock is not None:
            connection.sock.settimeout(None)
        while data := response.read1(CHUNK):
            write(data)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, BrokenPipeError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise Unavailable(f"cannot reach the REST API at {context.rest}: {reason}") from None
    finally:
        connection.close()


def server(context: Context) -> str:
    """The URL of the REST API. Raises BadRequest."""
    found = urlsplit(context.rest)
    if found.scheme != "https" or not found.hostname:
        raise BadRequest(
            f'context "{context.name}" has no rest-server: set it in its cluster to the https URL of the REST API (--web)'
        )
    return context.rest


def tls(context: Context) -> ssl.SSLContext:
    """Trusts the context's CA alone. The key is handed over in memory: no file has it."""
    made = ssl.create_default_context(cadata=context.ca.decode("ascii"))
    number = os.memfd_create("client", os.MFD_CLOEXEC)
    try:
        with open(number, "wb", closefd=False) as file:
            file.write(context.certificate + b"\n" + context.key)
        made.load_cert_chain(f"/proc/self/fd/{number}")
    except ssl.SSLError as error:
        raise BadRequest(f'context "{context.name}": its certificate or key cannot be used: {error.reason}') from None
    finally:
        os.close(number)
    return made


class Tls:
    """For a command that may outlast its certificate: `fresh` returns the context for the next connection."""

    def __init__(self, fresh: Callable[[], Context]) -> None:
        self._fresh = fresh
        self._made: tuple[bytes, ssl.SSLContext] | None = None

    def context(self) -> ssl.SSLContext:
        """Raises ApiError."""
        found = self._fresh()
        if self._made is None or self._made[0] != found.certificate:
            self._made = (found.certificate, tls(found))
        return self._made[1]


def _error(response: http.client.HTTPResponse) -> ApiError:
    """From the Status in the body, if there is one."""
    body = response.read(MAX_ERROR)
    try:
        status = json.loads(body)
        return errors.BY_REASON.get(status.get("reason", ""), Internal)(str(status["message"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        if response.status == 404:
            return NotFound("the server could not find the requested resource")
        return Internal(f"the server answered {response.status} {response.reason}: {body[:500].decode(errors='replace')}")
