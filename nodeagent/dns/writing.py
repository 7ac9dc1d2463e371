"""Responses in bytes, record by record up to a size: what does not fit is not made. Pure.

Names are compressed (RFC 1035, 4.1.4), the question's first: a name below it has the letters of the client.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from nodeagent.dns.reading import LAYOUTS, RR
from pinnace.dns import messages

_POINTER, _MAX_POINTER = 0xC000, 0x3FFF
_FIXED = struct.Struct("!HHIH")
# Types whose data may have compressed names: those of RFC 1035 alone (RFC 3597, 4).
_COMPRESSED = {type_: LAYOUTS[type_] for type_ in (2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15)}


class Writer:
    """`question` has name, type and class; `limit` is in bytes. Once a record does not fit, none may follow."""

    def __init__(self, question: bytes, limit: int) -> None:
        self._data = bytearray(messages.HEADER) + question
        self._limit = limit
        self._names: dict[bytes, int] = {}
        # Where the answers are.
        self.start = len(self._data)
        name, at = question[:-4].lower(), 0
        while name[at]:
            self._names[name[at:]] = messages.HEADER + at
            at += 1 + name[at]

    def __len__(self) -> int:
        return len(self._data)

    def section(self, records: Iterable[RR], *, whole: bool = False) -> tuple[int, bool]:
        """How many of the records fit, and whether all do. `whole`: none of them if not all do."""
        count, start = 0, len(self._data)
        for record in records:
            before = len(self._data)
            self._record(record)
            if len(self._data) > self._limit:
                del self._data[start if whole else before :]
                return 0 if whole else count, False
            count += 1
        return count, True

    def message(self, flags: int, counts: tuple[int, int, int], edns: bytes) -> bytes:
        """All of it, with the identity 0. `edns` is a record, or empty; room for it is left by the limit."""
        answers, authority, additional = counts
        struct.pack_into("!6H", self._data, 0, 0, flags, 1, answers, authority, additional + bool(edns))
        return bytes(self._data) + edns

    def _record(self, record: RR) -> None:
        name, type_, class_, ttl, data = record
        self._name(name)
        layout = _COMPRESSED.get(type_)
        if layout is None:
            self._data += _FIXED.pack(type_, class_, ttl, len(data))
            self._data += data
            return
        self._data += _FIXED.pack(type_, class_, ttl, 0)
        start = len(self._data)
        at, count = layout
        self._data += data[:at]
        for _ in range(count):
            end = _end(data, at)
            self._name(data[at:end])
            at = end
        self._data += data[at:]
        struct.pack_into("!H", self._data, start - 2, len(self._data) - start)

    def _name(self, name: bytes) -> None:
        key, at, here = name.lower(), 0, len(self._data)
        while key[at]:
            known = self._names.get(key[at:])
            if known is not None:
                self._data += name[:at] + (_POINTER | known).to_bytes(2, "big")
                return
            if here + at <= _MAX_POINTER:
                self._names[key[at:]] = here + at
            at += 1 + key[at]
        self._data += name


def _end(data: bytes, at: int) -> int:
    """Where an uncompressed name ends."""
    while data[at]:
        at += 1 + data[at]
    return at + 1
