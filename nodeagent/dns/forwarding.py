"""Names that are not the cluster's: stub domains and the node's name servers, with a cache.

The same question is asked once at a time, whatever the number of clients: so a loop through another server, back to this one,
ends in a failure and not in a flood, also before `loops` finds it. Servers are asked in their order, those that were silent of
late last.
Source: RFC 2308 (negative answers), RFC 8767 (stale ones), RFC 5452 (forged ones).
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from nodeagent.dns import reading, wire
from nodeagent.dns.cache import Cache
from nodeagent.dns.found import MAX_RECORDS, Found, Labels
from nodeagent.dns.loops import Loops, Place
from nodeagent.dns.metrics import Metrics
from nodeagent.dns.wire import Query, Response
from pinnace.clock import Clock
from pinnace.dns import messages, upstream

log = logging.getLogger("pinnace.dns")
# Seconds: for one try over UDP and over TCP, for all of a question (glibc's client waits 5), and until clients that could
# have a stale answer get it (RFC 8767, 5).
UDP_WITHIN, TCP_WITHIN, ALL_WITHIN, STALE_AFTER = 1.5, 3.0, 4.5, 1.8
ROUNDS = 2
# Seconds that answers are kept, negative ones, and expired ones for the time when no server answers; and the TTL of the last.
MOST, MOST_NEGATIVE, STALE, STALE_TTL = 3600, 300, 3600, 5
# Seconds in which a silent server is queried after the others, and not over TCP if only that had no answer.
AVOIDED = 10.0
# Questions under way (more than queries that wait at once, see `serving`), answers that are kept, and their bytes.
MAX_UNDER_WAY, MAX_KEPT, MAX_TOTAL = 2304, 2048, 4 << 20
_PORT = 53


@dataclass(frozen=True, slots=True)
class Question:
    """`name` in bytes and lower case. `do`: with signatures (RFC 4035); `cd`: also if they are wrong."""

    name: bytes
    type: int
    do: bool = False
    cd: bool = False

    @staticmethod
    def of(query: Query, chase: Labels | None = None) -> Question:
        """`chase` in place of the query's own name."""
        name = query.name if chase is None else wire.name_of(chase)
        return Question(name.lower(), query.type, query.do, bool(query.flags & messages.CD))

    @property
    def labels(self) -> Labels:
        return wire.labels_of(self.name)

    def message(self, *, edns: bool = True) -> bytes:
        flags = messages.RD | (messages.CD if self.cd else 0)
        header = struct.pack("!6H", 0, flags, 1, 0, 0, 1 if edns else 0)
        option = struct.pack("!BHHBBHH", 0, 41, wire.EDNS_UDP, 0, 0, 0x8000 if self.do else 0, 0) if edns else b""
        return header + self.name + struct.pack("!HH", self.type, 1) + option


@dataclass(frozen=True, slots=True)
class Stored:
    """A response in bytes that came at `at` and may be given for `lifetime` seconds."""

    data: bytes
    at: float
    lifetime: int


@dataclass(frozen=True, slots=True)
class Relayed:
    """A response for clients: as it is from now `until` its TTLs are other ones."""

    stored: Stored
    age: int
    until: float
    most: int = MOST

    def response(self, query: Query, limit: int, found: Found | None) -> Response:
        """`found` has the cluster's part of a chain that leads out of it. Raises Malformed."""
        given = reading.read(self.stored.data, MAX_RECORDS)
        return wire.relayed(query, given, limit, age=self.age, most=self.most, found=found)


@dataclass(frozen=True, slots=True)
class Servers:
    """Name servers by domain, `default` for all others. `own` are addresses that are never asked: this resolver's."""

    default: tuple[str, ...] = ()
    stubs: Mapping[Labels, tuple[str, ...]] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    port: int = _PORT

    def of(self, name: Labels) -> list[Place]:
        """Of the longest domain that the name is in."""
        domain = next((name[at:] for at in range(len(name)) if name[at:] in self.stubs), ())
        return self._usable(domain, self.stubs[domain] if domain else self.default)

    def places(self) -> list[Place]:
        """All that may be asked."""
        domains: list[tuple[Labels, tuple[str, ...]]] = [((), self.default), *self.stubs.items()]
        return [place for domain, servers in domains for place in self._usable(domain, servers)]

    def returning(self) -> list[str]:
        """Servers that are this resolver."""
        return sorted({server for servers in (self.default, *self.stubs.values()) for server in servers if server in self.own})

    def _usable(self, domain: Labels, servers: Iterable[str]) -> list[Place]:
        return [Place(domain, server) for server in servers if server not in self.own and not _unspecified(server)]


def _unspecified(server: str) -> bool:
    """0.0.0.0 is this host, on every port of which another server may listen."""
    return ipaddress.ip_address(server.partition("%")[0]).is_unspecified


@dataclass(slots=True)
class _UnderWay:
    """A question that servers are asked. Without waiters an expired answer was given, and the next one is on its way."""

    task: asyncio.Task[Stored | None]
    waiters: int = 0


def _is_empty(response: bytes) -> bool:
    """Truncated to nothing, such as by a server that limits its rate: no answer at all."""
    return messages.truncated(response) and not messages.answer_count(response)


class Forwarder:
    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock, self._metrics = clock, metrics
        self._servers = Servers()
        self._kept = Cache[Question, Stored](MAX_KEPT, MAX_TOTAL)
        self._under_way: dict[Question, _UnderWay] = {}
        # When servers did not answer last, and not over TCP.
        self._silent: dict[str, float] = {}
        self._silent_tcp: dict[str, float] = {}
        self._reading = asyncio.Lock()
        self.loops = Loops(clock, metrics, self._probe)

    def use(self, servers: Servers) -> None:
        """From now on; answers of others are forgotten."""
        if servers != self._servers:
            self._servers = servers
            self._kept.clear()
            self._silent.clear()
            self._silent_tcp.clear()
            self.loops.use(servers.places())
            self._metrics.own = servers.returning()
            for server in self._metrics.own:
                log.error("forwarding_loop server=%s: it is this resolver, and is not asked", server)

    def cached(self, question: Question) -> Relayed | None:
        stored = self._kept.get(question)
        if stored is None or self._clock.monotonic() - stored.at >= stored.lifetime:
            return None
        self._metrics.cache_hits += 1
        return self._fresh(stored)

    def _fresh(self, stored: Stored) -> Relayed:
        age = max(0, int(self._clock.monotonic() - stored.at))
        return Relayed(stored, age, stored.at + min(age + 1, stored.lifetime))

    async def resolve(self, question: Question) -> Relayed | None:
        """None: no server has answered, and there is no stale answer either; or the question was this resolver's own."""
        if self.loops.returned(question.labels):
            return None
        self._metrics.cache_misses += 1
        under_way, stale = self._under_way.get(question) or self._begin(question), self._stale(question)
        if under_way is None:
            self._metrics.refused += 1
            return stale
        under_way.waiters += 1
        try:
            done, _ = await asyncio.wait([under_way.task], timeout=STALE_AFTER if stale is not None else None)
        except asyncio.CancelledError:
            # Its client has lost its turn to others (see `serving`), and so has the question if no other client waits for it.
            if under_way.waiters == 1:
                self._end(question, under_way)
            raise
        finally:
            under_way.waiters -= 1
        stored = under_way.task.result() if done else None
        if stored is None or (stale is not None and messages.rcode(stored.data) in upstream.UNHELPFUL):
            return stale
        return self._fresh(stored)

    def _begin(self, question: Question) -> _UnderWay | None:
        """None when too many are under way that clients wait for."""
        if len(self._under_way) >= MAX_UNDER_WAY:
            left = next((item for item in self._under_way.items() if not item[1].waiters), None)
            if left is None:
                return None
            self._end(*left)
        found = _UnderWay(asyncio.get_running_loop().create_task(self._ask(question)))
        self._under_way[question] = found
        found.task.add_done_callback(lambda _: self._forget(question, found))
        return found

    def _end(self, question: Question, under_way: _UnderWay) -> None:
        under_way.task.cancel()
        self._forget(question, under_way)

    def _forget(self, question: Question, under_way: _UnderWay) -> None:
        if self._under_way.get(question) is under_way:
            del self._under_way[question]

    def _stale(self, question: Question) -> Relayed | None:
        stored = self._kept.get(question)
        if stored is None or self._clock.monotonic() - stored.at >= stored.lifetime + STALE:
            return None
        self._metrics.stale += 1
        return Relayed(stored, 0, self._clock.monotonic() + 1, STALE_TTL)

    async def _ask(self, question: Question) -> Stored | None:
        """The first useful response, else the last one; it is kept when it may be. A truncated one is requested over TCP. If
        it has records, it serves where TCP is blocked, and clients see the flag TC."""
        began = self._clock.monotonic()
        response = None
        try:
            async with asyncio.timeout(ALL_WITHIN):
                for place in self._order(question):
                    found = await self._try(place.server, question)
                    if found is not None and not _is_empty(found):
                        response = found
                    if found is not None and messages.truncated(found) and self._tries_tcp(place.server, found):
                        response = await self._over_tcp(place.server, question, empty=_is_empty(found)) or response
                    if response is not None and messages.rcode(response) not in upstream.UNHELPFUL:
                        break
                    self.loops.suspect(place)
        except TimeoutError:
            pass
        self._metrics.observe(self._clock.monotonic() - began)
        return await self._read(question, response) if response is not None else None

    def _order(self, question: Question) -> Iterator[Place]:
        places = self._servers.of(question.labels)
        for _ in range(ROUNDS):
            avoided = {place for place in places if self._was_silent(self._silent, place.server)}
            yield from (place for place in sorted(places, key=avoided.__contains__) if place not in self.loops)

    def _was_silent(self, silent: Mapping[str, float], server: str) -> bool:
        """Within the last AVOIDED seconds."""
        return self._clock.monotonic() - silent.get(server, -math.inf) < AVOIDED

    def _tries_tcp(self, server: str, truncated: bytes) -> bool:
        """Where it was in vain a moment ago, only for want of records."""
        return _is_empty(truncated) or not self._was_silent(self._silent_tcp, server)

    async def _over_tcp(self, server: str, question: Question, *, empty: bool) -> bytes | None:
        """`empty`: the response over UDP is no answer, and the server is silent without one over TCP."""
        response = await self._try(server, question, tcp=True)
        if response is None and empty:
            self._silent[server] = self._clock.monotonic()
        return response

    async def _try(self, server: str, question: Question, *, tcp: bool = False) -> bytes | None:
        """A well-formed response; None for none."""
        silent = self._silent_tcp if tcp else self._silent
        try:
            response = await self._exchange(server, question.message(), tcp=tcp)
            if messages.rcode(response) in (messages.FORMERR, messages.NOTIMP):
                # It may be older than EDNS (RFC 6891, 7).
                response = await self._exchange(server, question.message(edns=False), tcp=tcp)
        except (OSError, TimeoutError) as error:
            log.debug("no_answer server=%s tcp=%s error=%r", server, tcp, error)
            self._metrics.failed(server)
            silent[server] = self._clock.monotonic()
            return None
        silent.pop(server, None)
        return response

    async def _exchange(self, server: str, query: bytes, *, tcp: bool = False) -> bytes:
        """Raises OSError, TimeoutError."""
        target = upstream.address_of(server, self._servers.port)
        self._metrics.asked(server)
        async with asyncio.timeout(TCP_WITHIN if tcp else UDP_WITHIN):
            return await upstream.exchange(target, query, tcp=tcp)

    async def _probe(self, server: str, query: bytes) -> bytes:
        """Raises OSError, TimeoutError."""
        response = await self._exchange(server, query)
        return await self._exchange(server, query, tcp=True) if messages.truncated(response) else response

    async def _read(self, question: Question, data: bytes) -> Stored | None:
        """One at a time, and then clients have their turns: many servers may answer at once."""
        async with self._reading:
            stored = self._store(question, data)
            await asyncio.sleep(0)
        return stored

    def _store(self, question: Question, data: bytes) -> Stored | None:
        try:
            given = reading.read(data, MAX_RECORDS)
        except reading.Malformed:
            return None
        lifetime = reading.lifetime(given, most=MOST, most_negative=MOST_NEGATIVE)
        stored = Stored(data, self._clock.monotonic(), lifetime)
        if lifetime:
            self._kept.put(question, stored, len(data))
        return stored

    async def close(self) -> None:
        tasks = [item.task for item in self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
