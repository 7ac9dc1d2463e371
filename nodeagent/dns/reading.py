"""Responses of other name servers, read without trust in any length (RFC 1035, 4.1). Pure.

Names are uncompressed bytes, each label after its length, with the root's empty one at the end. Those in a record's data are
uncompressed too where their type may have compressed ones (RFC 3597, 4); data of other types is bytes that are passed on.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from nodeagent.dns.found import CNAME, SOA
from pinnace.dns import messages

_OPT, _NAPTR = 41, 35
_FIXED = struct.Struct("!HHIH")
_POINTER, _MAX_LABEL, _MAX_NAME = 0xC0, 63, 255
# A TTL with the highest bit is none (RFC 2181, 8).
_MAX_TTL = 0x7FFFFFFF
# Bytes before the names in the data of a type, and how many names there are.
LAYOUTS = {
    2: (0, 1), 3: (0, 1), 4: (0, 1), 5: (0, 1), 6: (0, 2), 7: (0, 1), 8: (0, 1), 9: (0, 1), 12: (0, 1), 14: (0, 2), 15: (2, 1),
    17: (0, 2), 18: (2, 1), 21: (2, 1), 24: (18, 1), 26: (2, 2), 30: (0, 1), 33: (6, 1), 36: (2, 1), 39: (0, 1),
}  # fmt: skip
# Bytes of an SOA record's data without its names.
_SOA_NUMBERS = 20


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
    """A response without its record of EDNS. `cut`: there were more records in a section than `read` takes; those of the next
    sections are not read."""

    flags: int
    rcode: int
    answer: list[RR] = field(default_factory=list)
    authority: list[RR] = field(default_factory=list)
    additional: list[RR] = field(default_factory=list)
    cut: bool = False


def read(data: bytes, most: int) -> Message:
    """The response with at most so many records in a section. Raises Malformed."""
    try:
        return _Reader(data).message(most)
    except (struct.error, IndexError):
        raise Malformed("the message ends early") from None


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


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = messages.HEADER
        # Names by the offsets that pointers lead to: what a message may have read again and again is read once.
        self._names: dict[int, bytes] = {}

    def message(self, most: int) -> Message:
        flags, questions, *counts = struct.unpack_from("!5H", self._data, 2)
        found = Message(flags, flags & 0x0F)
        for _ in range(questions):
            self._name()
            self._at += 4
        for section, count in zip((found.answer, found.authority, found.additional), counts, strict=True):
            for _ in range(min(count, most)):
                record = self._record()
                if record.type != _OPT:
                    section.append(record)
                else:
                    found.rcode |= record.ttl >> 24 << 4
            if count > most:
                found.cut = True
                break
        return found

    def _record(self) -> RR:
        name = self._name()
        type_, class_, ttl, size = _FIXED.unpack_from(self._data, self._at)
        self._at += _FIXED.size
        end = self._at + size
        if end > len(self._data):
            raise Malformed("a record ends behind the message")
        if type_ in LAYOUTS or type_ == _NAPTR:
            data = self._named(type_, end)
        else:
            data = self._data[self._at : end]
        self._at = end
        return RR(name, type_, class_, ttl if ttl <= _MAX_TTL or type_ == _OPT else 0, data)

    def _named(self, type_: int, end: int) -> bytes:
        """The data of a record, with its names uncompressed."""
        begin = self._at
        skip, count = LAYOUTS.get(type_, (0, 1))
        if type_ == _NAPTR:
            skip = self._strings(begin + 4, 3) - begin
        self._at += skip
        parts = [self._data[begin : self._at], *(self._name() for _ in range(count))]
        if self._at > end or (type_ == SOA and end - self._at != _SOA_NUMBERS):
            raise Malformed("a name ends behind its record")
        return b"".join([*parts, self._data[self._at : end]])

    def _strings(self, at: int, count: int) -> int:
        """Where so many character strings end."""
        for _ in range(count):
            at += 1 + self._data[at]
        return at

    def _name(self) -> bytes:
        """The name at the present place, which is behind it then."""
        data, at, least, end = self._data, self._at, self._at, 0
        parts: list[bytes] = []
        # What pointers led to, and how many labels there were before.
        led: list[tuple[int, int]] = []
        while length := data[at]:
            if length >= _POINTER:
                target = (length & ~_POINTER) << 8 | data[at + 1]
                end = end or at + 2
                # Backwards alone, so that it ends.
                if target >= least:
                    raise Malformed("a pointer leads forward")
                at = least = target
                known = self._names.get(target)
                if known is not None:
                    parts.append(known)
                    break
                led.append((target, len(parts)))
            elif length > _MAX_LABEL:
                raise Malformed("no label")
            else:
                parts.append(data[at : at + 1 + length])
                at += 1 + length
        else:
            parts.append(b"\0")
            end = end or at + 1
        self._at = end
        name = b"".join(parts)
        if len(name) > _MAX_NAME:
            raise Malformed("a name is too long")
        for target, before in led:
            self._names[target] = b"".join(parts[before:])
        return name
