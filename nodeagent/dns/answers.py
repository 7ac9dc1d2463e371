"""Queries to responses, with those of late as bytes.

A response is kept with the query's bytes as its key (all but the identity), so that the same question in the same words costs a
look into a dictionary. It is used while the index has what it was made from; that of another server for the rest of its
second, in which its TTLs do not change. Addresses are given in turns, so that clients which take the first one take each.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable

import dns.exception
import dns.message

from nodeagent.dns import wire
from nodeagent.dns.cache import Cache
from nodeagent.dns.forwarding import Forwarder, Question, Relayed
from nodeagent.dns.found import AAAA, A, Found
from nodeagent.dns.index import Use
from nodeagent.dns.metrics import Metrics
from nodeagent.dns.wire import BadQuery, Query, Responder
from nodeagent.dns.zone import Zone

log = logging.getLogger("pinnace.dns")
_HEADER = 12
# Responses that are kept, bytes of one, and of all.
MAX_KEPT, MAX_SIZE, MAX_TOTAL = 4096, 1 << 16, 4 << 20
# Seconds between reports of exceptions.
_REPORT_EVERY = 10.0
_SIZES = {A: 16, AAAA: 28}
Label = tuple[str, str, int, int]


class Kept:
    """A response without its identity, cut where its addresses are: `head`, some of `records` each of `size` bytes, `tail`."""

    __slots__ = ("_head", "_records", "_shown", "_size", "_tail", "_turn", "label", "until", "uses")

    def __init__(
        self, response: bytes, query: Query, *, shown: int, whole: bytes, uses: list[Use], until: float, label: Label
    ) -> None:
        """`whole` has all addresses, of which `shown` are in the response."""
        self.uses, self.until, self.label = uses, until, label
        self._turn, self._size = 0, _SIZES.get(query.type, 0) if shown else 0
        start = _HEADER + len(query.name.to_wire() or b"") + 4 - 2
        body, count = response[2:], self._size * shown
        self._head, self._tail = (body[:start], body[start + count :]) if shown else (body, b"")
        self._records = whole
        self._shown = count

    def __len__(self) -> int:
        return len(self._head) + len(self._records) + len(self._tail)

    def next(self) -> bytes:
        """Begins with the next address each time."""
        if not self._size:
            return self._head
        self._turn = (self._turn + self._size) % len(self._records)
        rotated = self._records[self._turn :] + self._records[: self._turn]
        return self._head + rotated[: self._shown] + self._tail


class Answers:
    """What a `pinnace.dns.serving.Server` calls. `now` is in seconds, monotonic."""

    def __init__(self, responder: Responder, forwarder: Forwarder, metrics: Metrics, now: Callable[[], float]) -> None:
        self._responder, self._forwarder, self._metrics, self._now = responder, forwarder, metrics, now
        self._zone: Zone | None = None
        self._kept = Cache[tuple[bool, bytes], Kept](MAX_KEPT, MAX_TOTAL)
        self._logged = -math.inf

    def use(self, zone: Zone) -> None:
        """From now on."""
        self._zone = zone
        self.forget()

    def forget(self) -> None:
        """All responses that are kept: settings have changed."""
        self._kept.clear()

    def resolve(self, data: bytes, tcp: bool) -> bytes | Awaitable[bytes]:
        """Never raises."""
        kept = self._kept.get((tcp, data[2:]))
        if kept is not None:
            if kept.until > self._now() and all(use.table.get(use.key) is use.value for use in kept.uses):
                self._metrics.kept(kept.label)
                return data[:2] + kept.next()
            self._kept.drop((tcp, data[2:]))
        if len(data) < _HEADER or data[2] & 0x80:
            return b""
        try:
            return self._make(data, tcp)
        except Exception:
            self._report()
            return self._failed(data, tcp, wire.SERVFAIL)

    def _report(self) -> None:
        """An exception, once in a while: clients may repeat what causes it."""
        if self._now() - self._logged >= _REPORT_EVERY:
            self._logged = self._now()
            log.exception("not_answered")

    def _make(self, data: bytes, tcp: bool) -> bytes | Awaitable[bytes]:
        try:
            query = wire.parse(data)
        except BadQuery as bad:
            return self._failed(data, tcp, bad.rcode)
        found = self._zone.lookup(query.labels, query.type) if self._zone is not None else None
        if query.type == wire.ANY and (found is None or not found.rcode):
            return self._respond(data, tcp, query, wire.minimal_any(query), found or Found(()))
        if found is not None and not found.chase:
            return self._respond(data, tcp, query, self._responder.from_records(query, found), found)
        question = Question.of(query, found.chase if found is not None else None)
        relayed = self._forwarder.cached(question)
        if relayed is not None:
            return self._relay(data, tcp, query, found, relayed)
        return self._later(data, tcp, query, found)

    async def _later(self, data: bytes, tcp: bool, query: Query, found: Found | None) -> bytes:
        try:
            relayed = await self._forwarder.resolve(Question.of(query, found.chase if found is not None else None))
            return self._relay(data, tcp, query, found, relayed)
        except Exception:
            self._report()
            return self._failed(data, tcp, wire.SERVFAIL)

    def _relay(self, data: bytes, tcp: bool, query: Query, found: Found | None, relayed: Relayed | None) -> bytes:
        """`found` has the cluster's part of a chain that leads out of it."""
        if relayed is None:
            return self._failed(data, tcp, wire.SERVFAIL)
        given = relayed.response(query)
        if found is None:
            return self._respond(data, tcp, query, given, Found(()), until=relayed.until)
        response = self._responder.from_records(query, found)
        wire.chained(response, given)
        return self._respond(data, tcp, query, response, found, until=relayed.until)

    def _respond(
        self, data: bytes, tcp: bool, query: Query, response: dns.message.Message, found: Found, until: float = math.inf
    ) -> bytes:
        label = self._metrics.label(tcp=tcp, inside=bool(found.zone), type_=query.type, rcode=int(response.rcode()))
        whole, shown = _addresses(query, response), 0
        encoded = wire.encoded(response, query.limit(tcp=tcp))
        if whole:
            shown = int.from_bytes(encoded[6:8], "big")
        kept = Kept(encoded, query, shown=shown, whole=whole, uses=found.uses, until=until, label=label)
        self._keep((tcp, data[2:]), kept)
        self._metrics.made(label)
        return data[:2] + kept.next()

    def _keep(self, key: tuple[bool, bytes], kept: Kept) -> None:
        if kept.until <= self._now() or len(kept) > MAX_SIZE or len(key[1]) > MAX_SIZE:
            return
        self._kept.put(key, kept, len(kept) + len(key[1]))

    def _failed(self, data: bytes, tcp: bool, rcode: int) -> bytes:
        self._metrics.made(self._metrics.label(tcp=tcp, inside=False, type_=0, rcode=rcode))
        return wire.failure(data, rcode)


def _addresses(query: Query, response: dns.message.Message) -> bytes:
    """The answer's records in bytes, when there are several and nothing but addresses of the question's name."""
    if len(response.answer) != 1 or len(response.answer[0]) < 2 or int(response.answer[0].rdtype) not in _SIZES:
        return b""
    item = response.answer[0]
    if item.name != query.name or len(query.name.labels) == 1:
        # The root's name is as short as a pointer.
        return b""
    # The name is a pointer to the question's (RFC 1035, 4.1.4).
    fixed = b"\xc0\x0c" + query.type.to_bytes(2, "big") + b"\0\1" + item.ttl.to_bytes(4, "big")
    return b"".join(fixed + len(data).to_bytes(2, "big") + data for data in (one.to_wire() or b"" for one in item))
