"""Keeping the node's certificate fresh, while the agent runs and without disturbing what runs.

After two thirds of its lifetime, and a random part of the rest so that nodes do not come at once, a certificate for a new
key is asked for: over the session's connection, or at the join endpoint once the old one has expired because the node or the
control plane was off. The session then moves to a new connection; streams end on the one that they began on.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import grpc

from nodeagent.control import https, keys
from nodeagent.control.credentials import Credentials, Pair
from nodeagent.node import threads
from pinnace import wire
from pinnace.clock import Clock, jitter
from pinnace.errors import ApiError, Internal, Unauthenticated, Unavailable

log = logging.getLogger("pinnace.renewal")
# Seconds after which the time is compared again, because a machine may sleep and its clock may be set; and between attempts,
# doubling.
PERIOD, FIRST_RETRY, MAX_RETRY = 600.0, 1.0, 300.0
# A pause is also at most this part of the time that is left: a short certificate has no time for long ones.
SHARE, MIN_RETRY = 0.1, 0.1
# Seconds between attempts once the certificate has expired with the control plane off: the node is lost until one succeeds.
MAX_EXPIRED_RETRY = 10.0

Ask = Callable[[bytes], Awaitable[str]]
"""Send a signing request (PEM) on the present connection; returns the certificate. Raises AioRpcError, RuntimeError."""


class Make(Protocol):
    """`keys.make_apart`, or `keys.make` as a coroutine."""

    async def __call__(self, node: str, *, old: bytes, key: bytes) -> keys.Request: ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Whose certificate it is, and where an expired one is renewed; `address` is empty for a node that joined long ago."""

    node: str
    address: str


class Renewal:
    def __init__(
        self,
        credentials: Credentials,
        endpoint: Endpoint,
        clock: Clock,
        *,
        ask: Ask,
        renewed: Callable[[], None],
        make: Make = keys.make_apart,
    ) -> None:
        """`renewed` is called when there is a new certificate to connect with."""
        self._credentials = credentials
        self._endpoint = endpoint
        self._clock = clock
        self._ask = ask
        self._renewed = renewed
        self._make = make
        # A certificate and when it is to be renewed.
        self._due: tuple[bytes, float] = (b"", 0.0)

    async def run(self) -> None:
        """Renew until cancelled."""
        retry = FIRST_RETRY
        while True:
            left = MAX_RETRY / SHARE
            try:
                pair = self._credentials.load()
                await self._until_due(pair)
                left = pair.validity.end - self._clock.now()
                await self._renew(pair)
            except (ApiError, OSError, RuntimeError, grpc.aio.AioRpcError) as error:
                if isinstance(error, Internal):
                    # The stored key cannot be used.
                    self._credentials.drop_pending()
                log.warning("certificate_renewal_failed left=%.0f error=%s", left, _text(error))
                pause = min(retry, _longest_pause(left, error))
                await self._clock.sleep(jitter(pause))
                retry = pause * 2
            else:
                retry = FIRST_RETRY
                self._renewed()

    async def _until_due(self, pair: Pair) -> None:
        if self._due[0] != pair.certificate:
            validity = pair.validity
            self._due = pair.certificate, min(validity.start + jitter(validity.renewal - validity.start), validity.end)
        while (left := self._due[1] - self._clock.now()) > 0:
            await self._clock.sleep(min(left, PERIOD))

    async def _renew(self, pair: Pair) -> None:
        expired = self._clock.now() >= pair.validity.end
        request = await self._make(self._endpoint.node, old=pair.key if expired else b"", key=self._credentials.pending_key())
        self._credentials.keep_pending(request.key)
        answer = await (self._at_endpoint(pair, request) if expired else self._ask(request.csr))
        self._credentials.accept(answer)
        log.info("certificate_renewed expires=%.0f", self._credentials.load().validity.end)

    async def _at_endpoint(self, pair: Pair, request: keys.Request) -> str:
        node = self._endpoint.node
        if not self._endpoint.address:
            raise Unauthenticated(f"the certificate has expired: join again (kctl node join-command {node} prints how)")
        body = {"certificate": pair.certificate.decode(), "csr": request.csr.decode(), "proof": request.proof}
        answer = await threads.control.run(https.post, self._endpoint.address, "/renew", body, ca=pair.ca, clock=self._clock)
        return str(answer.get("certificate"))


def _longest_pause(left: float, error: Exception) -> float:
    """Seconds before the next attempt at most, with so many seconds of validity left. Pure."""
    if left > 0:
        return min(max(left * SHARE, MIN_RETRY), MAX_RETRY)
    return MAX_EXPIRED_RETRY if isinstance(error, Unavailable) else MAX_RETRY


def _text(error: Exception) -> str:
    return wire.from_rpc_error(error).message if isinstance(error, grpc.RpcError) else str(error)
