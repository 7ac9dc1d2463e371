"""Finds name servers that pass queries back to this resolver: an active probe, as the plugin `loop` of CoreDNS.

Each server is sent a question for a random name; where this resolver is asked for that name, the server has passed it back. It
is not asked then until a later probe finds it cured: without it each question would wait for itself, and hold the places of its
clients until the time is over. Servers are probed when they are set and, within a rate, when they fail. A name is known to the
server alone that it was sent to, so that a client cannot make another server look like a loop.

Addresses that are this resolver's own are no probe's business: `Servers.of` leaves them out.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from nodeagent.dns.found import Labels
from nodeagent.dns.metrics import Metrics
from pinnace.clock import Clock
from pinnace.dns.reporting import Reports

log = logging.getLogger("pinnace.dns")
# Seconds between probes of a server that fails, and of one in a loop; and for one probe.
PAUSE, RECHECK, WITHIN = 5.0, 10.0, 1.5
# Probes at once.
AT_ONCE = 16
_A, _IN = 1, 1
# Sends a message to a server and returns the response. Raises OSError, TimeoutError.
Exchange = Callable[[str, bytes], Awaitable[bytes]]


class Place(NamedTuple):
    """A server, and the domain for which it is asked; that of all others is empty."""

    domain: Labels
    server: str


class Loops:
    def __init__(self, clock: Clock, metrics: Metrics, exchange: Exchange) -> None:
        self._clock, self._metrics, self._exchange = clock, metrics, exchange
        # When each server is probed next, and when it was probed last; in monotonic seconds.
        self._due: dict[Place, float] = {}
        self._probed: dict[Place, float] = {}
        self._found: set[Place] = set()
        # Labels of the names that are asked for now, and servers whose last one has come back.
        self._names: dict[str, Place] = {}
        self._returned: set[Place] = set()
        self._wake = asyncio.Event()
        self._reports = Reports(clock.monotonic)

    def __contains__(self, place: Place) -> bool:
        return place in self._found

    def use(self, places: Iterable[Place]) -> None:
        """Probe these, and know no others."""
        self._due = dict.fromkeys(places, -math.inf)
        self._probed.clear()
        self._found.clear()
        self._returned.clear()
        self._names.clear()
        self._report()
        self._wake.set()

    def suspect(self, place: Place) -> None:
        """The server has failed: it may be in a loop."""
        if place in self._due and place not in self._found:
            self._due[place] = min(self._due[place], self._probed.get(place, -math.inf) + PAUSE)
            self._wake.set()

    def returned(self, name: Labels) -> bool:
        """Whether the question for a name is a probe that has come back. A server may ask for the end of a name alone
        (RFC 9156)."""
        place = next((self._names[label] for label in name if label in self._names), None) if self._names else None
        if place is None:
            return False
        self._returned.add(place)
        if place not in self._found:
            self._found.add(place)
            log.error(
                "forwarding_loop server=%s domain=%s: it passes queries back to this resolver, and is not asked until a probe "
                "finds it cured (name another in resolv.conf or --dns-stub-domain)",
                place.server,
                ".".join(place.domain) or ".",
            )
            self._report()
        return True

    async def run(self) -> None:
        """Probe what is due, until cancelled."""
        while True:
            self._wake.clear()
            now = self._clock.monotonic()
            due = [place for place, at in self._due.items() if at <= now][:AT_ONCE]
            if due:
                for error in await asyncio.gather(*map(self._probe, due), return_exceptions=True):
                    if isinstance(error, Exception):
                        self._reports.exception("probe_failed", error)
                continue
            first = min(self._due.values(), default=math.inf)
            await self._clock.wait(self._wake, first - now if first < math.inf else None)

    async def _probe(self, place: Place) -> None:
        labels = secrets.token_hex(8), secrets.token_hex(8)
        for label in labels:
            self._names[label] = place
        self._probed[place] = self._clock.monotonic()
        self._returned.discard(place)
        try:
            async with asyncio.timeout(WITHIN):
                await self._exchange(place.server, _question((*labels, *place.domain)))
        except (OSError, TimeoutError, ValueError):
            # No answer is no loop: the question did not come back.
            pass
        finally:
            for label in labels:
                self._names.pop(label, None)
            # Whatever happened: what is due again at once would be probed without a pause.
            self._conclude(place)

    def _conclude(self, place: Place) -> None:
        returned = place in self._returned
        if place in self._due:
            self._due[place] = self._clock.monotonic() + RECHECK if returned else math.inf
        if place in self._found and not returned:
            self._found.discard(place)
            log.info("forwarding_loop_ended server=%s", place.server)
            self._report()

    def _report(self) -> None:
        self._metrics.loops = sorted({place.server for place in self._found})


def _question(labels: Labels) -> bytes:
    name = b"".join(bytes([len(label)]) + label.encode("latin-1") for label in labels)
    return struct.pack("!6H", 0, 0x0100, 1, 0, 0, 0) + name + b"\0" + struct.pack("!HH", _A, _IN)
