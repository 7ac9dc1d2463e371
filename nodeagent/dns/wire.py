"""Queries from bytes, and responses to bytes.

What this resolver says of itself: EDNS version 0 and datagrams of up to 1232 bytes (DNS flag day 2020), which no link
fragments. A response costs what fits into it.

Here are header, question and the record of EDNS, which are fixed fields; records are those of `reading` and `writing`.
"""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from nodeagent.dns.found import AAAA, SOA, SRV, TTL, TXT, A, Found, Labels, Record
from nodeagent.dns.reading import RR, Message
from nodeagent.dns.writing import Writer
from pinnace.dns import messages

IN, ANY = 1, 255
_HINFO, _OPT = 13, 41
# OPT, and what is about messages and transfers (RFC 6895, 3.1).
_META = {_OPT, *range(128, 255)}
BADVERS = 16
# Bytes of a UDP response: without EDNS, and at most. A client's own limit counts in steps, so that there are few answers to one
# question.
PLAIN_UDP, EDNS_UDP, _STEP, MAX_TCP = 512, 1232, 48, 65535
_DO = 0x8000
# How a record of EDNS begins (the root's name, and the type), and what follows it: payload, version, flags, and size of the
# options (RFC 6891, 6.1.2).
_EDNS, _EDNS_FIELDS = b"\0\0\x29", struct.Struct("!HBBHH")
_ADDRESS_SIZES = {A: 4, AAAA: 16}
# Seconds of a zone that no other server copies.
_REFRESH, _RETRY, _EXPIRE = 7200, 1800, 86400


class BadQuery(Exception):
    """A query that gets a response code and no records."""

    def __init__(self, rcode: int) -> None:
        super().__init__(rcode)
        self.rcode = rcode


@dataclass(frozen=True, slots=True)
class Query:
    """One question, `name` in bytes as the client wrote it. `flags` are those that its response depends on. `payload` is 0
    without EDNS; `options`: EDNS has some."""

    name: bytes
    type: int
    flags: int
    payload: int = 0
    do: bool = False
    options: bool = False

    @property
    def labels(self) -> Labels:
        """In lower case, without the root."""
        return labels_of(self.name.lower())

    def limit(self, *, tcp: bool) -> int:
        """Bytes of its response."""
        if tcp:
            return MAX_TCP
        return PLAIN_UDP + max(min(self.payload, EDNS_UDP) - PLAIN_UDP, 0) // _STEP * _STEP

    def key(self, *, tcp: bool) -> tuple[object, ...]:
        """Equal for queries whose responses differ in identity and letters alone."""
        return self.name.lower(), self.type, self.flags, self.limit(tcp=tcp), tcp, self.payload > 0, self.do


@dataclass(frozen=True, slots=True)
class Response:
    """`data` has the identity 0. `shown` are the addresses in it that may change places, and `whole` are all of them in bytes:
    when an answer has several, and nothing but addresses of the question's name."""

    data: bytes
    rcode: int
    shown: int = 0
    whole: bytes = b""


def labels_of(name: bytes) -> Labels:
    """Without the root."""
    found, at = [], 0
    while size := name[at]:
        found.append(name[at + 1 : at + 1 + size].decode("latin-1"))
        at += 1 + size
    return tuple(found)


def name_of(labels: Iterable[str]) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode("latin-1") for label in labels if label) + b"\0"


def parse(data: bytes) -> Query:
    """Raises BadQuery for what cannot be answered with records; the data has a header and is no response."""
    flags, _, answers, authority, additional = struct.unpack_from("!5H", data, 2)
    if flags & messages.OPCODE:
        raise BadQuery(messages.NOTIMP)
    asked = messages.question(data)
    end = messages.HEADER + len(asked)
    if not asked or answers or authority or additional > 1:
        raise BadQuery(messages.FORMERR)
    payload, do, options = _edns(data, end) if additional else (0, False, False)
    if not additional and len(data) != end:
        raise BadQuery(messages.FORMERR)
    type_, class_ = struct.unpack_from("!HH", data, end - 4)
    if class_ != IN or type_ in _META:
        # Zone transfers too: names are given one at a time.
        raise BadQuery(messages.REFUSED)
    name = data[messages.HEADER : end - 4]
    return Query(name, type_, flags & (messages.RD | messages.AD | messages.CD), payload, do, options)


def _edns(data: bytes, at: int) -> tuple[int, bool, bool]:
    """Payload, DO, and whether there are options. Raises BadQuery."""
    at += len(_EDNS)
    if data[at - len(_EDNS) : at] != _EDNS or len(data) < at + _EDNS_FIELDS.size:
        raise BadQuery(messages.FORMERR)
    payload, _, version, flags, size = _EDNS_FIELDS.unpack_from(data, at)
    at += _EDNS_FIELDS.size
    if len(data) != at + size:
        raise BadQuery(messages.FORMERR)
    while len(data) - at >= 4:
        at += 4 + int.from_bytes(data[at + 2 : at + 4], "big")
    if at != len(data):
        raise BadQuery(messages.FORMERR)
    if version:
        raise BadQuery(BADVERS)
    return max(payload, 1), bool(flags & _DO), size > 0


def failure(data: bytes, rcode: int) -> bytes:
    """A response without records to bytes that have a header; it repeats the question where that can be read. Never raises."""
    flags = int.from_bytes(data[2:4], "big") & (messages.OPCODE | messages.RD | messages.CD)
    end = messages.HEADER + len(messages.question(data))
    asked = data[messages.HEADER : end]
    edns = rcode > 0xF or (asked and data[10:12] == b"\0\1" and data[end : end + len(_EDNS)] == _EDNS)
    head = struct.pack("!5H", flags | messages.QR | messages.RA | rcode & 0xF, bool(asked), 0, 0, bool(edns))
    return data[:2] + head + asked + (_option(rcode, do=False) if edns else b"")


def _option(rcode: int, *, do: bool) -> bytes:
    """The record of EDNS of a response."""
    return _EDNS + _EDNS_FIELDS.pack(EDNS_UDP, rcode >> 4, 0, _DO if do else 0, 0)


class Responder:
    """Responses from records; `serial` is the one of the SOA records."""

    def __init__(self, serial: int) -> None:
        self._serial = serial

    def from_records(self, query: Query, found: Found, limit: int) -> Response:
        """An authoritative response."""
        if query.type == SOA and not found.rcode and query.labels == found.zone:
            return _respond(query, limit, 0, authoritative=True, answer=[self._soa(found.zone)])
        # Also at the end of a chain of CNAMEs (RFC 2308, 2.2).
        negative = found.rcode or not any(item.type == query.type for item in found.answers)
        return _respond(
            query, limit, found.rcode, authoritative=True, answer=_written(found.answers),
            authority=[self._soa(found.zone)] if negative else (), additional=_written(found.additional),
        )  # fmt: skip

    def _soa(self, zone: Labels) -> RR:
        names = name_of(("ns", "dns", *zone)) + name_of(("hostmaster", *zone))
        numbers = struct.pack("!5I", self._serial, _REFRESH, _RETRY, _EXPIRE, TTL)
        return RR(name_of(zone), SOA, IN, TTL, names + numbers)


def minimal_any(query: Query, limit: int) -> Response:
    """The response to type ANY (RFC 8482): no amplifier for forged senders."""
    return _respond(query, limit, 0, answer=[RR(query.name, _HINFO, IN, TTL, b"\7RFC8482\0")])


def relayed(query: Query, given: Message, limit: int, *, age: int, most: int, found: Found | None = None) -> Response:
    """The response that another server gave `age` seconds ago, as an answer to `query`; no TTL is above `most`. `found` has the
    cluster's part of a chain that leads out of it."""
    answer, authority, additional = (_aged(part, age, most) for part in (given.answer, given.authority, given.additional))
    if found is not None:
        chain = itertools.chain(_written(found.answers), answer)
        ends = [item for item in authority if item.type == SOA]
        return _respond(query, limit, given.rcode, authoritative=True, answer=chain, authority=ends, truncated=given.truncated)
    return _respond(
        query, limit, given.rcode, answer=answer, authority=authority, additional=additional, truncated=given.truncated,
        verified=bool(given.flags & messages.AD) and (query.do or bool(query.flags & messages.AD)),
    )  # fmt: skip


def _aged(records: Iterable[RR], age: int, most: int) -> Iterator[RR]:
    """With what is left of their TTLs."""
    return (RR(name, type_, class_, max(min(ttl, most) - age, 0), data) for name, type_, class_, ttl, data in records)


def _respond(
    query: Query, limit: int, rcode: int, *, answer: Iterable[RR], authority: Iterable[RR] = (), additional: Iterable[RR] = (),
    authoritative: bool = False, verified: bool = False, truncated: bool = False,
) -> Response:  # fmt: skip
    """At most `limit` bytes: without the additional section, and then with as many answers as fit and the flag TC. Clients that
    do not ask again over TCP (musl before 1.2.4) use those. Records are taken while they fit."""
    edns = _option(rcode, do=query.do) if query.payload else b""
    writer = Writer(query.name + struct.pack("!HH", query.type, IN), limit - len(edns))
    whole = b""
    if query.type in _ADDRESS_SIZES:
        answer = list(answer)
        whole = _addresses(query, answer)
    answers, fits = writer.section(answer)
    counts = (answers, 0, 0)
    if fits and not truncated:
        named, fits = writer.section(authority)
        # Where there is no answer, what says so is one.
        truncated = not fits and not answers
        counts = (answers, named, writer.section(additional, whole=True)[0] if fits else 0)
    else:
        truncated = True
    flags = messages.QR | messages.RA | (query.flags & (messages.RD | messages.CD)) | rcode & 0xF
    flags |= (messages.AA if authoritative else 0) | (messages.AD if verified else 0) | (messages.TC if truncated else 0)
    return Response(writer.message(flags, counts, edns), rcode, answers if whole else 0, whole)


def _addresses(query: Query, answer: Sequence[RR]) -> bytes:
    """See `Response.whole`."""
    size, name = _ADDRESS_SIZES[query.type], query.name.lower()
    # The root's name is as short as a pointer.
    if len(answer) < 2 or len(name) == 1:
        return b""
    if any((item.type, item.class_, len(item.data)) != (query.type, IN, size) or item.name.lower() != name for item in answer):
        return b""
    head = b"\xc0\x0c" + struct.pack("!HH", query.type, IN)
    return b"".join(head + struct.pack("!IH", item.ttl, size) + item.data for item in answer)


def _written(records: Iterable[Record]) -> Iterator[RR]:
    return (RR(name_of(item.name), item.type, IN, item.ttl, _data(item)) for item in records)


def _data(record: Record) -> bytes:
    """Raises OSError for what is no address."""
    if record.type == A:
        return socket.inet_pton(socket.AF_INET, record.data)
    if record.type == AAAA:
        return socket.inet_pton(socket.AF_INET6, record.data)
    if record.type == TXT:
        text = record.data.encode("latin-1")
        return bytes([len(text)]) + text
    if record.type == SRV:
        priority, weight, port, target = record.data.split(" ")
        return struct.pack("!3H", int(priority), int(weight), int(port)) + name_of(target.split("."))
    return name_of(record.data.split("."))
