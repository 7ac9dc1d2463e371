"""What surrounds a value in etcd: the place of its write in the transaction, and a checksum.

All keys of an etcd transaction have one mod_revision. A store revision is therefore `mod_revision * SPAN + place`. A value
begins with a zero byte, which neither a protobuf message nor JSON does, so values of earlier versions are read as they are.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

# Places in one transaction: above etcd's limit of operations (--max-txn-ops 128), and small enough that revisions stay
# below 2**53 for 2**46 transactions.
SPAN = 128
_HEADER = struct.Struct(">BBBI")
_MAGIC, _VERSION = 0, 1
_REPLACES = 0x80


class Damaged(Exception):
    """The checksum does not match."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """`place` of the put in its transaction; `replaces`: the transaction deleted the key's previous object before."""

    value: bytes
    place: int
    replaces: bool = False

    def encode(self, key: str) -> bytes:
        mark = self.place | (_REPLACES if self.replaces else 0)
        return _HEADER.pack(_MAGIC, _VERSION, mark, _checksum(key, mark, self.value)) + self.value

    @classmethod
    def decode(cls, key: str, data: bytes) -> Envelope:
        """Raises Damaged."""
        if len(data) < _HEADER.size or data[0] != _MAGIC or data[1] != _VERSION:
            return cls(data, 0)
        _, _, mark, recorded = _HEADER.unpack_from(data)
        value = data[_HEADER.size :]
        if recorded != _checksum(key, mark, value):
            raise Damaged(f"the checksum of {key} does not match")
        return cls(value, mark & ~_REPLACES, bool(mark & _REPLACES))

    @classmethod
    def read(cls, key: str, data: bytes) -> Envelope:
        """Like decode; damaged data are handed on as they are, and begin with a zero byte as no object does."""
        try:
            return cls.decode(key, data)
        except Damaged:
            return cls(data, 0)


def _checksum(key: str, mark: int, value: bytes) -> int:
    return zlib.crc32(value, zlib.crc32(f"{key}#{mark}".encode()))


def first(mod_revision: int) -> int:
    """The lowest store revision in an etcd revision."""
    return mod_revision * SPAN


def last(mod_revision: int) -> int:
    """The highest: the state's after the transaction."""
    return mod_revision * SPAN + SPAN - 1


def mod_revision(revision: int) -> int:
    return revision // SPAN
