"""One HTTPS request to the control plane's join endpoint, for a host that has no valid client certificate."""

from __future__ import annotations

import json
import socket
import ssl
from typing import Any

import h11

from pinnace import errors, pki
from pinnace.clock import Clock

# Seconds for one request, from connect(2) to the last byte of the answer; bytes of an answer.
DEADLINE = 15.0
MAX_ANSWER = 64 << 10


def get(endpoint: str, path: str, clock: Clock) -> bytes:
    """A page from a peer that is not authenticated: whatever it is must be checked by other means. Raises Unavailable."""
    context = _context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _request(endpoint, "GET", path, b"", context, clock)


def post(endpoint: str, path: str, body: dict[str, str], *, ca: bytes, clock: Clock) -> dict[str, Any]:
    """Send a JSON object to a server that `ca` (PEM) authenticates; returns the object that it answers.

    Raises Unavailable when it cannot be reached, and the ApiError that it refuses with."""
    context = _context()
    context.load_verify_locations(cadata=ca.decode())
    answer = _request(endpoint, "POST", path, json.dumps(body).encode(), context, clock)
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise errors.Unavailable(f"{endpoint}{path} did not answer with a JSON object")
    return found


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


class _Connection:
    """A TLS connection whose every step shares one deadline, so that a peer that sends a byte now and then gains nothing."""

    def __init__(self, endpoint: str, context: ssl.SSLContext, clock: Clock) -> None:
        """Raises OSError, ValueError."""
        host, _, port = endpoint.rpartition(":")
        self._clock = clock
        self._end = clock.monotonic() + DEADLINE
        raw = socket.create_connection((host.strip("[]"), int(port)), timeout=self._left())
        try:
            raw.settimeout(self._left())
            self._socket = context.wrap_socket(raw, server_hostname=pki.SERVER_NAME)
        except BaseException:
            raw.close()
            raise

    def _left(self) -> float:
        left = self._end - self._clock.monotonic()
        if left <= 0:
            raise TimeoutError(f"no answer within {DEADLINE:.0f} s")
        return left

    def send(self, data: bytes) -> None:
        self._socket.settimeout(self._left())
        self._socket.sendall(data)

    def receive(self) -> bytes:
        self._socket.settimeout(self._left())
        return self._socket.recv(16 << 10)

    def close(self) -> None:
        self._socket.close()


def _request(endpoint: str, method: str, path: str, body: bytes, context: ssl.SSLContext, clock: Clock) -> bytes:
    try:
        connection = _Connection(endpoint, context, clock)
        try:
            status, answer = _exchange(connection, method, path, body)
        finally:
            connection.close()
    except (OSError, ValueError, h11.RemoteProtocolError) as error:
        raise errors.Unavailable(f"cannot reach {endpoint}: {error}") from None
    if status != 200:
        raise _refusal(answer)
    return answer


def _exchange(connection: _Connection, method: str, path: str, body: bytes) -> tuple[int, bytes]:
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_ANSWER)
    headers = [("host", pki.SERVER_NAME), ("content-length", str(len(body))), ("connection", "close")]
    for event in (h11.Request(method=method, target=path, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
        connection.send(http.send(event) or b"")
    status, answer = 0, b""
    while True:
        received = http.next_event()
        if received is h11.NEED_DATA:
            http.receive_data(connection.receive())
        elif isinstance(received, h11.Response):
            status = received.status_code
        elif isinstance(received, h11.Data):
            answer += bytes(received.data)
            if len(answer) > MAX_ANSWER:
                raise errors.Unavailable("the answer is too large")
        elif isinstance(received, h11.EndOfMessage):
            return status, answer
        else:
            raise errors.Unavailable("the connection ended early")


def _refusal(answer: bytes) -> errors.ApiError:
    try:
        told = json.loads(answer)
        return errors.BY_REASON.get(told.get("reason"), errors.Internal)(str(told.get("message"))[:1000])
    except (ValueError, AttributeError, TypeError, RecursionError):
        return errors.Unavailable("the control plane refused without a reason")
