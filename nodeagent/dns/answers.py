"""Queries to responses, with those of late as bytes.

A response is kept by the query's bytes (all but the identity), so that the same question in the same words costs a look into a
dictionary; and by what it depends on, so that other letters and options cost little more. The client's own identity and letters
are put in. It is used while the index has what it was made from; that of another server for the rest of its second, in which
its TTLs do not change. Addresses are given in turns, so that clients which take the first one take each.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from nodeagent.dns import wire
from nodeagent.dns.cache import Cache
from nodeagent.dns.forwarding import Forwarder, Question, Relayed
from nodeagent.dns.found import AAAA, A, Found
from nodeagent.dns.index import Use
from nodeagent.dns.metrics import Metrics
from nodeagent.dns.wire import BadQuery, Query, Responder, Response
from nodeagent.dns.zone import Zone
from pinnace.dns import messages
from pinnace.dns.reporting import Reports
from pinnace.dns.serving import Answer

_HEADER = messages.HEADER
# Responses that are kept, bytes of one, and of all.
MAX_KEPT, MAX_SIZE, MAX_TOTAL = 4096, 1 << 16, 4 << 20
_SIZES = {A: 16, AAAA: 28}
Label = tuple[str, str, int, int]


class Kept:
    """A response without identity and name, cut where its addresses are: `head`, the client's name, `middle`, some of `records`
    each of `size` bytes, `tail`."""

    __slots__ = ("_head", "_middle", "_name", "_records", "_shown", "_size", "_tail", "_turn", "label", "until", "uses")

    def __init__(self, query: Query, response: Response, *, uses: list[Use], until: float, label: Label) -> None:
        self.uses, self.until, self.label = uses, until, label
        self._turn, self._size = 0, _SIZES[query.type] if response.shown else 0
        # Where the name of a query ends, and what the rest begins with: type and class.
        self._name = _HEADER + len(query.name)
        start = self._name + 4
        self._shown = self._size * response.shown
        self._head, self._records = response.data[2:_HEADER], response.whole
        self._middle, self._tail = response.data[self._name : start], response.data[start + self._shown :]
        if not self._size:
            self._middle, self._tail = b"", self._middle + self._tail

    def __len__(self) -> int:
        return self._name + len(self._middle) + len(self._records) + len(self._tail)

    def next(self, query: bytes) -> bytes:
        """For a query in bytes; begins with the next address each time."""
        begin = query[:2] + self._head + query[_HEADER : self._name]
        if not self._size:
            return begin + self._tail
        self._turn = (self._turn + self._size) % len(self._records)
        rotated = self._records[self._turn :] + self._records[: self._turn]
        return begin + self._middle + rotated[: self._shown] + self._tail


class Answers:
    """What a `pinnace.dns.serving.Server` calls. `now` is in seconds, monotonic."""

    def __init__(self, responder: Responder, forwarder: Forwarder, metrics: Metrics, now: Callable[[], float]) -> None:
        self._responder, self._forwarder, self._metrics, self._now = responder, forwarder, metrics, now
        self._zone: Zone | None = None
        self._kept = Cache[tuple[object, ...], Kept](MAX_KEPT, MAX_TOTAL)
        self._reports = Reports(now)

    def use(self, zone: Zone) -> None:
        """From now on."""
        self._zone = zone
        self.forget()

    def forget(self) -> None:
        """All responses that are kept: settings have changed."""
        self._kept.clear()

    def resolve(self, data: bytes, tcp: bool) -> Answer:
        """Never raises, nor does what it returns."""
        kept = self._current((tcp, data[2:]))
        if kept is not None:
            return kept.next(data)
        if len(data) < _HEADER or data[2] & 0x80:
            return b""
        try:
            return self._make(data, tcp)
        except Exception:
            self._reports.exception("not_answered")
            return self._failed(data, tcp, messages.SERVFAIL)

    def _current(self, key: tuple[object, ...]) -> Kept | None:
        """The response, if it is still one."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.until > self._now() and all(use.table.get(use.key) is use.value for use in kept.uses):
            self._metrics.kept(kept.label)
            return kept
        self._kept.drop(key)
        return None

    def _make(self, data: bytes, tcp: bool) -> Answer:
        try:
            query = wire.parse(data)
        except BadQuery as bad:
            return self._failed(data, tcp, bad.rcode)
        kept = self._current(query.key(tcp=tcp))
        if kept is not None:
            # Not words that their client does not repeat: letters by chance (0x20), and options of EDNS, which have cookies.
            if not query.options and query.name == query.name.lower():
                self._keep((tcp, data[2:]), query, kept)
            return kept.next(data)
        found = self._zone.lookup(query.labels, query.type) if self._zone is not None else None
        limit = query.limit(tcp=tcp)
        if query.type == wire.ANY and (found is None or not found.rcode):
            return self._respond(data, tcp, query, wire.minimal_any(query, limit), found or Found(()))
        if found is not None and not found.chase:
            return self._respond(data, tcp, query, self._responder.from_records(query, found, limit), found)
        question = Question.of(query, found.chase if found is not None else None)
        relayed = self._forwarder.cached(question)
        if relayed is not None:
            return self._relay(data, tcp, query, found, relayed)
        return self._later(data, tcp, query, found)

    async def _later(self, data: bytes, tcp: bool, query: Query, found: Found | None) -> Callable[[], bytes]:
        relayed = None
        try:
            relayed = await self._forwarder.resolve(Question.of(query, found.chase if found is not None else None))
        except Exception:
            self._reports.exception("not_answered")
        return lambda: self._relay_or_fail(data, tcp, query, found, relayed)

    def _relay_or_fail(self, data: bytes, tcp: bool, query: Query, found: Found | None, relayed: Relayed | None) -> bytes:
        try:
            return self._relay(data, tcp, query, found, relayed)
        except Exception:
            self._reports.exception("not_answered")
            return self._failed(data, tcp, messages.SERVFAIL)

    def _relay(self, data: bytes, tcp: bool, query: Query, found: Found | None, relayed: Relayed | None) -> bytes:
        """`found` has the cluster's part of a chain that leads out of it."""
        if relayed is None:
            return self._failed(data, tcp, messages.SERVFAIL)
        response = relayed.response(query, query.limit(tcp=tcp), found)
        return self._respond(data, tcp, query, response, found or Found(()), until=relayed.until)

    def _respond(
        self, data: bytes, tcp: bool, query: Query, response: Response, found: Found, until: float = math.inf
    ) -> bytes:  # fmt: skip
        label = self._metrics.label(tcp=tcp, inside=bool(found.zone), type_=query.type, rcode=response.rcode)
        kept = Kept(query, response, uses=found.uses, until=until, label=label)
        self._keep(query.key(tcp=tcp), query, kept)
        self._metrics.made(label)
        return kept.next(data)

    def _keep(self, key: tuple[object, ...], query: Query, kept: Kept) -> None:
        size = len(kept) + len(query.name)
        if kept.until > self._now() and size <= MAX_SIZE:
            self._kept.put(key, kept, size)

    def _failed(self, data: bytes, tcp: bool, rcode: int) -> bytes:
        self._metrics.made(self._metrics.label(tcp=tcp, inside=False, type_=0, rcode=rcode))
        return wire.failure(data, rcode)
