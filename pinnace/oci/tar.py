"""The members of a tar, from a stream that may be hostile: every header bounded, every number in range, one error.

Not the standard library's reader: that one reads an extended header of any size into memory, takes a damaged header for the
end of the archive, and applies global records, which Docker and containerd ignore.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import IO

from pinnace.oci import BadImage, tarsparse
from pinnace.oci.tarheader import (
    BLOCK,
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    LINK,
    MAX_EXTENDED,
    MAX_SIZE,
    REGULAR,
    SYMLINK,
    Member,
    decimal,
    number,
    parse,
    pax_records,
    text,
    with_records,
)  # fmt: skip

CHUNK = 1 << 20
_ZEROS = bytes(BLOCK)
_HEADER_ONLY = frozenset((LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO))
_SPARSE, _CONTIGUOUS = "S", "7"


class Reader:
    """`next` yields members, `content` the data of the last. Reads exactly what the members have, and no byte ahead.

    With `seekable` data that is not wanted is skipped by `seek`. Raises BadImage.
    """

    def __init__(self, stream: IO[bytes], *, seekable: bool = False) -> None:
        self._stream = stream
        self._seekable = seekable
        self._at = 0
        # Of the last member: bytes of data that are not read yet, and the padding after them.
        self._left = self._padding = 0
        self._member = Member("", REGULAR)
        self._end = stream.seek(0, 2) if seekable else -1
        if seekable:
            stream.seek(0)

    def next(self) -> Member | None:
        """The next member, None at the end of the archive."""
        self._skip(self._left + self._padding)
        self._left = self._padding = 0
        records: dict[str, bytes] = {}
        name = link = b""
        while (block := self._header()) is not None:
            member = parse(block, self._at)
            match member.kind:
                case "x":
                    records = pax_records(self._extended(member))
                case "L":
                    name = self._extended(member).split(b"\0")[0]
                case "K":
                    link = self._extended(member).split(b"\0")[0]
                case "g":
                    # Of no effect on members, as in Docker and containerd.
                    self._extended(member)
                case _:
                    self._member = self._completed(member, block, records, name=name, link=link)
                    return self._member
        if records or name or link:
            raise BadImage(f"an extended header before offset {self._at} has no member")
        return None

    def content(self) -> Iterator[tuple[int, bytes]]:
        """Where in the file, and what. Holes of a sparse file are left out."""
        extents = ((0, self._member.size),) if self._member.sparse is None else self._member.sparse
        for start, length in extents:
            done = 0
            while done < length:
                data = self._exactly(min(CHUNK, length - done))
                self._left -= len(data)
                yield start + done, data
                done += len(data)

    def _header(self) -> bytes | None:
        """A block that is a header; None where two blocks of zeros or the stream's end say that the archive ends."""
        block = self._some(BLOCK)
        if not block:
            return None
        if len(block) == BLOCK and block == _ZEROS:
            second = self._some(BLOCK)
            if not second or second == _ZEROS:
                return None
            raise BadImage(f"no tar header at offset {self._at - BLOCK}, after an empty block")
        if len(block) < BLOCK:
            raise BadImage(f"it ends in the middle of a tar header, at offset {self._at}")
        return block

    def _extended(self, member: Member) -> bytes:
        if member.stored > MAX_EXTENDED:
            raise BadImage(
                f"an extended header at offset {self._at} has {member.stored} bytes; at most {MAX_EXTENDED} are read"
            )
        data = self._exactly(member.stored)
        self._skip(-member.stored % BLOCK)
        return data

    def _completed(self, member: Member, block: bytes, records: dict[str, bytes], *, name: bytes, link: bytes) -> Member:
        """A member with what its extended headers say, its data next in the stream."""
        member = replace(member, name=text(name) if name else member.name, link=text(link) if link else member.link)
        member = with_records(member, records)
        if member.kind == "\0":
            member = replace(member, kind=DIRECTORY if member.name.endswith("/") else REGULAR)
        if member.kind == _CONTIGUOUS:
            member = replace(member, kind=REGULAR)
        if member.kind in _HEADER_ONLY:
            member = replace(member, size=0, stored=0)
        self._left, self._padding = member.stored, -member.stored % BLOCK
        if member.kind == _SPARSE:
            member = self._old_sparse(member, block)
        elif member.kind == REGULAR and any(key.startswith("GNU.sparse.") for key in records):
            member = self._pax_sparse(member, records)
        if member.sparse is not None and tarsparse.total(member.sparse) != self._left:
            raise BadImage(f"{member.name[:200]!r}: its sparse map is not of the {self._left} bytes that it has")
        return replace(member, offset=self._at)

    def _old_sparse(self, member: Member, block: bytes) -> Member:
        def more() -> bytes:
            return self._exactly(BLOCK)

        size = number(block[483:495], "size of a sparse file", MAX_SIZE)
        return replace(member, kind=REGULAR, size=size, sparse=tarsparse.from_header(block, more, size))

    def _pax_sparse(self, member: Member, records: dict[str, bytes]) -> Member:
        """The three versions of GNU tar's sparse files in pax headers."""
        name = records.get("GNU.sparse.name", b"")
        told = records.get("GNU.sparse.realsize") or records.get("GNU.sparse.size")
        if told is None:
            return member
        size = decimal(told, "GNU.sparse.realsize", MAX_SIZE)
        if records.get("GNU.sparse.major") == b"1":
            before = self._at
            extents = tarsparse.from_lines(lambda: self._exactly(BLOCK), size, self._left)
            self._left -= self._at - before
            if self._left < 0:
                raise BadImage(f"{member.name[:200]!r}: its sparse map is longer than its data")
        else:
            extents = tarsparse.from_records(records.get("GNU.sparse.map", b""), size)
        return replace(member, name=text(name) if name else member.name, size=size, stored=self._left, sparse=extents)

    # Bytes

    def _some(self, count: int) -> bytes:
        """Up to `count` bytes, fewer at the end of the stream."""
        data = self._stream.read(count)
        while 0 < len(data) < count and (more := self._stream.read(count - len(data))):
            data += more
        self._at += len(data)
        return data

    def _exactly(self, count: int) -> bytes:
        data = self._some(count)
        if len(data) < count:
            raise BadImage(f"it ends at offset {self._at}, in the middle of {self._member.name[:200]!r} or its headers")
        return data

    def _skip(self, count: int) -> None:
        if self._seekable and count > BLOCK:
            self._at += count
            if self._at > self._end:
                raise BadImage(f"it ends at offset {self._end}, in the middle of {self._member.name[:200]!r}")
            self._stream.seek(self._at)
            return
        while count:
            count -= len(self._exactly(min(count, CHUNK)))
