"""Responses of other name servers (RFC 1035, 4.1): names, and data that has names, are read by dnspython. Pure.

Names are uncompressed bytes, each label after its length, with the root's empty one at the end. Those in a record's data are
uncompressed too where their type may have compressed ones (RFC 3597, 4); data of other types is bytes that are passed on. All
classes of dnspython that this needs are imported here: the process has an empty root, in which nothing can be imported later.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

import dns.exception
import dns.name
import dns.rdata
import dns.rdtypes.ANY.AFSDB
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.DNAME
import dns.rdtypes.ANY.MX
import dns.rdtypes.ANY.NS
import dns.rdtypes.ANY.PTR
import dns.rdtypes.ANY.RP
import dns.rdtypes.ANY.RT
import dns.rdtypes.ANY.SOA
import dns.rdtypes.IN.KX
import dns.rdtypes.IN.NAPTR
import dns.rdtypes.IN.PX
import dns.rdtypes.IN.SRV
import dns.wire

from nodeagent.dns.found import CNAME, SOA
from pinnace.dns import messages

_OPT = 41
_FIXED = "!HHIH"
# A TTL with the highest bit is none (RFC 2181, 8).
_MAX_TTL = 0x7FFFFFFF
_POINTER = 0xC0
# Labels of all names in a message: 1,000 records of usual names have half as many.
MAX_LABELS = 12_000
# Types whose data may have compressed names.
_NAMED: dict[int, type[dns.rdata.Rdata]] = {
    2: dns.rdtypes.ANY.NS.NS, 5: dns.rdtypes.ANY.CNAME.CNAME, 6: dns.rdtypes.ANY.SOA.SOA, 12: dns.rdtypes.ANY.PTR.PTR,
    15: dns.rdtypes.ANY.MX.MX, 17: dns.rdtypes.ANY.RP.RP, 18: dns.rdtypes.ANY.AFSDB.AFSDB, 21: dns.rdtypes.ANY.RT.RT,
    26: dns.rdtypes.IN.PX.PX, 33: dns.rdtypes.IN.SRV.SRV, 35: dns.rdtypes.IN.NAPTR.NAPTR, 36: dns.rdtypes.IN.KX.KX,
    39: dns.rdtypes.ANY.DNAME.DNAME,
}  # fmt: skip
# The same, which dnspython does not know, and which are not in use: MD, MF, MB, MG, MR, MINFO, SIG, NXT. They are left out.
_OBSOLETE = {3, 4, 7, 8, 9, 14, 24, 30}


class Malformed(ValueError):
    """No message."""


class RR(NamedTuple):
    """A record; `name` and `data` are uncompressed."""

    name: bytes
    type: int
    class_: int
    ttl: int
    data: bytes


@dataclass(slots=True)
class Message:
    """A response without its record of EDNS. `truncated`: its flag TC is set, or there were more records in a section than
    `read` takes; those of the next sections are not read."""

    flags: int
    rcode: int
    answer: list[RR] = field(default_factory=list)
    authority: list[RR] = field(default_factory=list)
    additional: list[RR] = field(default_factory=list)
    truncated: bool = False


def read(data: bytes, most: int) -> Message:
    """The response with at most so many records in a section. Raises Malformed."""
    try:
        return _message(_Parser(data), most)
    except (dns.exception.DNSException, ValueError, struct.error) as error:
        raise Malformed(str(error)) from None


def lifetime(message: Message, *, most: int, most_negative: int) -> int:
    """Seconds for which a response may be given again (RFC 2308); 0: not at all."""
    if message.flags & messages.TC or message.rcode not in (messages.NOERROR, messages.NXDOMAIN):
        return 0
    negative = message.rcode == messages.NXDOMAIN or all(item.type == CNAME for item in message.answer)
    ttls = [item.ttl for item in message.answer]
    if negative:
        authority = [item for item in message.authority if item.type == SOA]
        if not authority:
            return 0
        ttls += [min(item.ttl, int.from_bytes(item.data[-4:], "big")) for item in authority]
    return min(most_negative if negative else most, *ttls)


class _Parser(dns.wire.Parser):
    """A name that is nothing but a pointer is read once, and the labels of all have a bound: two bytes may lead to 127 labels,
    each of which takes dnspython 10 µs."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._known: dict[bytes, dns.name.Name] = {}
        self._left = MAX_LABELS

    def get_name(self, origin: dns.name.Name | None = None, decompress: bool = True) -> dns.name.Name:
        """Uncompressed and absolute, whatever the type (RFC 3597, 4). Raises Malformed beyond the bound."""
        pointer = self.wire[self.current : self.current + 2]
        name = self._known.get(pointer)
        if name is not None:
            self.get_bytes(2)
        else:
            name = dns.name.from_wire_parser(self)
            if pointer[0] >= _POINTER:
                self._known[pointer] = name
        self._left -= len(name.labels)
        if self._left < 0:
            raise Malformed("too many labels")
        return name


def _message(parser: dns.wire.Parser, most: int) -> Message:
    _, flags, questions, *counts = parser.get_struct("!6H")
    found = Message(flags, flags & 0x0F, truncated=bool(flags & messages.TC))
    for _ in range(questions):
        parser.get_name()
        parser.get_bytes(4)
    for section, count in zip((found.answer, found.authority, found.additional), counts, strict=True):
        for _ in range(min(count, most)):
            record = _record(parser)
            if record.type == _OPT:
                found.rcode |= record.ttl >> 24 << 4
            elif record.type not in _OBSOLETE:
                section.append(record)
        if count > most:
            found.truncated = True
            break
    return found


def _record(parser: dns.wire.Parser) -> RR:
    name = _bytes(parser.get_name())
    type_, class_, ttl, size = parser.get_struct(_FIXED)
    with parser.restrict_to(size):
        named = _NAMED.get(type_)
        # Of the class, not by its number: dnspython looks for a module of each further type.
        data = parser.get_remaining() if named is None else _bytes(named.from_wire_parser(class_, type_, parser))
    return RR(name, type_, class_, ttl if ttl <= _MAX_TTL or type_ == _OPT else 0, data)


def _bytes(value: dns.name.Name | dns.rdata.Rdata) -> bytes:
    """Uncompressed."""
    return value.to_wire() or b""
