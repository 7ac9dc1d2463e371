"""Responses in bytes, record by record up to a size: what does not fit is not made. Pure.

Names of records are compressed by dnspython (RFC 1035, 4.1.4), the question's first: a name below it has the letters of the
client. Those in data are not.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable

import dns.name

from nodeagent.dns.reading import RR
from pinnace.dns import messages

_FIXED = struct.Struct("!HHIH")


class Writer:
    """`question` has name, type and class; `limit` is in bytes. Once a record does not fit, none may follow."""

    def __init__(self, question: bytes, limit: int) -> None:
        self._file = io.BytesIO()
        self._file.write(bytes(messages.HEADER))
        self._limit = limit
        # Names of records, and where they and what they end with are.
        self._names: dict[bytes, dns.name.Name] = {}
        self._places: dict[dns.name.Name, int] = {}
        self._name(question[:-4])
        self._file.write(question[-4:])
        # Where the answers are.
        self.start = self._file.tell()

    def __len__(self) -> int:
        return self._file.tell()

    def section(self, records: Iterable[RR], *, whole: bool = False) -> tuple[int, bool]:
        """How many of the records fit, and whether all do. `whole`: none of them if not all do."""
        count, start = 0, len(self)
        for record in records:
            before = len(self)
            self._record(record)
            if len(self) > self._limit:
                self._file.seek(start if whole else before)
                self._file.truncate()
                return 0 if whole else count, False
            count += 1
        return count, True

    def message(self, flags: int, counts: tuple[int, int, int], edns: bytes) -> bytes:
        """All of it, with the identity 0. `edns` is a record, or empty; room for it is left by the limit."""
        answers, authority, additional = counts
        header = struct.pack("!6H", 0, flags, 1, answers, authority, additional + bool(edns))
        return header + self._file.getvalue()[messages.HEADER :] + edns

    def _record(self, record: RR) -> None:
        name, type_, class_, ttl, data = record
        self._name(name)
        self._file.write(_FIXED.pack(type_, class_, ttl, len(data)) + data)

    def _name(self, name: bytes) -> None:
        known = self._names.get(name)
        if known is None:
            known = self._names[name] = dns.name.from_wire(name, 0)[0]
        known.to_wire(self._file, self._places)
