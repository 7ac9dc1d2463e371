"""Messages in bytes, by dnspython: queries in, responses out.

What this resolver says of itself: EDNS version 0 and datagrams of up to 1232 bytes (DNS flag day 2020), which no link
fragments.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.HINFO
import dns.rdtypes.ANY.NS
import dns.rdtypes.ANY.PTR
import dns.rdtypes.ANY.SOA
import dns.rdtypes.ANY.TXT
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.SRV
import dns.rrset

from nodeagent.dns.found import AAAA, CNAME, NS, PTR, SOA, SRV, TTL, TXT, A, Found, Labels, Record
from pinnace.dns import messages

IN = 1
ANY = 255
# OPT, and what is about messages and transfers (RFC 6895, 3.1).
_META = {41, *range(128, 255)}
FORMERR, SERVFAIL, NOTIMP, REFUSED, BADVERS = 1, 2, 4, 5, 16
# Bytes of a UDP response: without EDNS, and at most.
PLAIN_UDP, EDNS_UDP, MAX_TCP = 512, 1232, 65535
# Bytes of the smallest record: a pointer to its name, and what precedes its data.
_LEAST = 12
_DO = 0x8000
# How a record of EDNS begins: the root's name, and the type.
_EDNS = b"\0\0\x29"
# Classes of records that dnspython remembers: a server's answers may have any number of types.
_MAX_TYPES = 1000
# Seconds of a zone that no other server copies.
_REFRESH, _RETRY, _EXPIRE = 7200, 1800, 86400


class BadQuery(Exception):
    """A query that gets a response code and no records."""

    def __init__(self, rcode: int) -> None:
        super().__init__(rcode)
        self.rcode = rcode


@dataclass(frozen=True, slots=True)
class Query:
    """One question, `name` as the client wrote it. `payload` is 0 without EDNS."""

    name: dns.name.Name
    type: int
    flags: int
    payload: int = 0
    do: bool = False

    @property
    def labels(self) -> Labels:
        """In lower case, without the root."""
        return tuple(label.lower().decode("latin-1") for label in self.name.labels[:-1])

    def limit(self, *, tcp: bool) -> int:
        """Bytes of its response."""
        if tcp:
            return MAX_TCP
        return min(max(self.payload, PLAIN_UDP), EDNS_UDP) if self.payload else PLAIN_UDP


def parse(data: bytes) -> Query:
    """Raises BadQuery for what cannot be answered with records; the data has a header and is no response."""
    opcode = data[2] >> 3 & 0xF
    if opcode:
        raise BadQuery(NOTIMP)
    if not _plain(data):
        raise BadQuery(FORMERR)
    try:
        message = dns.message.from_wire(data)
    except (dns.exception.DNSException, ValueError, NotImplementedError):
        raise BadQuery(FORMERR) from None
    if message.edns > 0:
        raise BadQuery(BADVERS)
    question = message.question[0]
    payload = max(message.payload, 1) if message.edns == 0 else 0
    if question.rdclass != IN or question.rdtype in _META:
        # Zone transfers too: names are given one at a time.
        raise BadQuery(REFUSED)
    return Query(question.name, int(question.rdtype), int(message.flags), payload, bool(message.ednsflags & _DO))


def _plain(data: bytes) -> bool:
    """Whether a query has one question, and no record but one of EDNS: dnspython keeps something of each further type."""
    asked = messages.question(data)
    answers, authority, additional = struct.unpack("!3H", data[6:12])
    if not asked or answers or authority or additional > 1:
        return False
    end = messages.HEADER + len(asked)
    return not additional or data[end : end + 3] == _EDNS


def failure(data: bytes, rcode: int) -> bytes:
    """A response without records to bytes that have a header; it repeats the question where that can be read."""
    question: list[dns.rrset.RRset] = []
    edns = rcode == BADVERS
    with contextlib.suppress(dns.exception.DNSException, ValueError, NotImplementedError):
        query = dns.message.from_wire(data, question_only=not _plain(data))
        question, edns = query.question[:1], edns or query.edns >= 0
    response = dns.message.QueryMessage(int.from_bytes(data[:2], "big"))
    flags = int.from_bytes(data[2:4], "big")
    response.flags = dns.flags.Flag(dns.flags.QR | dns.flags.RA | (flags & (0x7800 | dns.flags.RD | dns.flags.CD)))
    response.question = question
    if edns:
        response.use_edns(0, payload=EDNS_UDP)
    response.set_rcode(dns.rcode.Rcode(rcode))
    return response.to_wire()


class Responder:
    """Responses from records; `serial` is the one of the SOA records."""

    def __init__(self, serial: int) -> None:
        self._serial = serial

    def from_records(self, query: Query, found: Found) -> dns.message.Message:
        """An authoritative response."""
        response = _response(query, found.rcode, authoritative=True)
        response.answer = _sets(query, found.answers)
        response.additional = _sets(query, found.additional)
        if query.type == SOA and not found.rcode and query.labels == found.zone:
            response.answer = [self._soa(query, found.zone)]
        elif not found.answers or found.rcode:
            response.authority = [self._soa(query, found.zone)]
        return response

    def _soa(self, query: Query, zone: Labels) -> dns.rrset.RRset:
        apex = _name(query, zone)
        server, contact = _absolute(("ns", "dns", *zone)), _absolute(("hostmaster", *zone))
        data = dns.rdtypes.ANY.SOA.SOA(
            dns.rdataclass.IN, dns.rdatatype.SOA, server, contact, self._serial, _REFRESH, _RETRY, _EXPIRE, TTL
        )
        return dns.rrset.from_rdata(apex, TTL, data)


def minimal_any(query: Query) -> dns.message.Message:
    """The response to type ANY (RFC 8482): no amplifier for forged senders."""
    response = _response(query, 0, authoritative=False)
    data = dns.rdtypes.ANY.HINFO.HINFO(dns.rdataclass.IN, dns.rdatatype.HINFO, b"RFC8482", b"")
    response.answer = [dns.rrset.from_rdata(query.name, TTL, data)]
    return response


def relayed(query: Query, wire: bytes, *, age: int, most: int) -> dns.message.Message:
    """The response that another server gave `age` seconds ago, as an answer to `query`; no TTL is above `most`. Raises
    DNSException, ValueError."""
    given = _received(wire)
    response = _response(query, int(given.rcode()), authoritative=False)
    if given.flags & dns.flags.AD and (query.do or query.flags & dns.flags.AD):
        response.flags |= dns.flags.AD
    response.answer, response.authority = given.answer, given.authority
    response.additional = [item for item in given.additional if item.rdtype != dns.rdatatype.OPT]
    for section in (response.answer, response.authority, response.additional):
        for item in section:
            item.ttl = max(min(item.ttl, most) - age, 0)
    return response


def _received(wire: bytes) -> dns.message.Message:
    """Of another server. Raises DNSException, ValueError."""
    known = dns.rdata._rdata_classes
    if len(known) > _MAX_TYPES:
        for key in [key for key, class_ in known.items() if class_ is dns.rdata.GenericRdata]:
            del known[key]
    return dns.message.from_wire(wire, ignore_trailing=True)


def chained(response: dns.message.Message, further: dns.message.Message) -> None:
    """Append what the last CNAME of `response` leads to."""
    response.answer += further.answer
    response.authority = further.authority if not further.answer or further.rcode() else []
    response.set_rcode(further.rcode())


def lifetime(wire: bytes, *, most: int, most_negative: int) -> int:
    """Seconds for which a response may be given again (RFC 2308); 0: not at all. Raises DNSException, ValueError."""
    message = _received(wire)
    if message.flags & dns.flags.TC or message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return 0
    negative = message.rcode() == dns.rcode.NXDOMAIN or not any(int(item.rdtype) != CNAME for item in message.answer)
    ttls = [item.ttl for item in message.answer]
    if negative:
        authority = [item for item in message.authority if item.rdtype == dns.rdatatype.SOA]
        if not authority:
            return 0
        ttls += [min(item.ttl, data.minimum) for item in authority for data in item]
    return min(most_negative if negative else most, *ttls) if ttls else 0


def _response(query: Query, rcode: int, *, authoritative: bool) -> dns.message.Message:
    response = dns.message.QueryMessage(0)
    kept = query.flags & (dns.flags.RD | dns.flags.CD)
    response.flags = dns.flags.Flag(dns.flags.QR | dns.flags.RA | kept | (dns.flags.AA if authoritative else 0))
    response.question = [dns.rrset.RRset(query.name, dns.rdataclass.IN, dns.rdatatype.RdataType.make(query.type))]
    if query.payload:
        response.use_edns(0, _DO if query.do else 0, payload=EDNS_UDP)
    response.set_rcode(dns.rcode.Rcode(rcode))
    return response


def _sets(query: Query, records: Iterable[Record]) -> list[dns.rrset.RRset]:
    found: dict[tuple[Labels, int], dns.rrset.RRset] = {}
    for record in records:
        key = record.name, record.type
        if key not in found:
            found[key] = dns.rrset.RRset(_name(query, record.name), dns.rdataclass.IN, dns.rdatatype.RdataType(record.type))
        found[key].add(_data(record), record.ttl)
    return list(found.values())


def _name(query: Query, labels: Labels) -> dns.name.Name:
    """In the client's letters where it is a part of the question's name: clients may compare them (0x20)."""
    if labels and query.labels[-len(labels) :] == labels:
        return dns.name.Name(query.name.labels[-len(labels) - 1 :])
    return _absolute(labels)


def _absolute(labels: Iterable[str]) -> dns.name.Name:
    return dns.name.Name([*(label.encode("latin-1") for label in labels if label), b""])


def _data(record: Record) -> dns.rdata.Rdata:
    class_, type_ = dns.rdataclass.IN, dns.rdatatype.RdataType(record.type)
    if record.type == A:
        return dns.rdtypes.IN.A.A(class_, type_, record.data)
    if record.type == AAAA:
        return dns.rdtypes.IN.AAAA.AAAA(class_, type_, record.data)
    if record.type == TXT:
        return dns.rdtypes.ANY.TXT.TXT(class_, type_, [record.data])
    if record.type == SRV:
        priority, weight, port, target = record.data.split(" ")
        return dns.rdtypes.IN.SRV.SRV(class_, type_, int(priority), int(weight), int(port), _absolute(target.split(".")))
    return _NAMED[record.type](class_, type_, _absolute(record.data.split(".")))


_NAMED: dict[int, Callable[..., dns.rdata.Rdata]] = {
    NS: dns.rdtypes.ANY.NS.NS,
    CNAME: dns.rdtypes.ANY.CNAME.CNAME,
    PTR: dns.rdtypes.ANY.PTR.PTR,
}


def encoded(response: dns.message.Message, limit: int) -> bytes:
    """At most `limit` bytes: without the additional section, and then with as many answers as fit and the flag TC. Clients that
    do not ask again over TCP (musl before 1.2.4) use those."""
    # More answers than this do not fit, so that no time is spent on them.
    total, most = sum(map(len, response.answer)), limit // _LEAST
    wire = b""
    if total <= most:
        with contextlib.suppress(dns.exception.TooBig):
            wire = response.to_wire(max_size=MAX_TCP)
    if wire and len(wire) <= limit:
        return wire
    response.additional = []
    answer, fits = response.answer, b""
    low, high = 0, min(total, most)
    # All of them first: they often fit without the additional section.
    middle = high
    while low < high or not fits:
        response.answer = _first(answer, middle)
        try:
            wire = _whole(response, limit, cut=middle < total)
        except dns.exception.TooBig:
            if not middle:
                # The authority section alone was too long.
                response.authority = []
            high = max(middle - 1, 0)
        else:
            low, fits = middle, wire
        middle = (low + high + 1) // 2
    return fits


def _whole(response: dns.message.Message, limit: int, *, cut: bool) -> bytes:
    """Raises TooBig."""
    response.flags = dns.flags.Flag(response.flags | dns.flags.TC if cut else response.flags & ~dns.flags.TC)
    return response.to_wire(max_size=limit)


def _first(answer: Sequence[dns.rrset.RRset], count: int) -> list[dns.rrset.RRset]:
    """So many of the records, in order."""
    found = []
    for item in answer:
        if count <= 0:
            break
        part = dns.rrset.from_rdata_list(item.name, item.ttl, list(item)[:count]) if count < len(item) else item
        count -= len(part)
        found.append(part)
    return found


def load_type(name: str) -> None:
    """Have dnspython import what reads records of a type; those of types that are not loaded are passed on as they are."""
    dns.rdata.get_rdata_class(dns.rdataclass.IN, dns.rdatatype.from_text(name))
