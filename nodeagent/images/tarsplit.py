"""How to make a layer's tar again, to the byte, from its unpacked folder: without it, only what was built here could be
given to another node.

A recipe is the tar without the content of its files, which are in the folder: pieces of it as they were, and names of
files in between. (The idea is tar-split's, which Docker and containers/storage use for the same.)

A tar may bring a path twice, or hide what it has brought itself. What came first is in no folder, so the recipe of such a tar
is all of it.

    piece: b"I", 4 bytes of length, bytes        file: b"F", 4 bytes of length, name, 8 bytes of size        gzip around all
"""

from __future__ import annotations

import gzip
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from nodeagent.linux import syscalls
from pinnace.oci import BadImage
from pinnace.oci.tarheader import REGULAR, Member

_CHUNK = 1 << 20
# Bytes that are collected for one piece.
_COLLECTED = 256 << 10
_RESOLVE = 0x08 | 0x04  # RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS


class TarSplitWriter:
    """A stream that writes to `out` the recipe of what is read through it.

    `note` is called for each member when everything before its content has been read, and nothing after that.
    """

    def __init__(self, stream: IO[bytes], out: IO[bytes]) -> None:
        self._stream = stream
        self._out = gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, mtime=0)
        # What has been read and is in no recipe yet, and how much follows of a file's content, which is left out.
        self._pending = bytearray()
        self._left_out = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        dropped = min(len(data), self._left_out)
        self._left_out -= dropped
        if dropped < len(data):
            self._pending += data[dropped:]
            if len(self._pending) > _COLLECTED:
                self._piece()
        return data

    def note(self, member: Member, path: str) -> None:
        """`path` is where the member's content will be in the layer's directory."""
        if member.kind != REGULAR or member.sparse is not None or not member.size:
            return
        self._piece()
        raw = os.fsencode(path)
        self._out.write(b"F" + struct.pack(">I", len(raw)) + raw + struct.pack(">Q", member.size))
        self._left_out = member.size

    def _piece(self) -> None:
        if self._pending:
            self._out.write(b"I" + struct.pack(">I", len(self._pending)) + bytes(self._pending))
            self._pending.clear()

    def finish(self) -> None:
        """Read to the end: there may be more than the archive."""
        while self.read(_CHUNK):
            pass
        self._piece()
        self._out.close()


def keep_whole(stream: IO[bytes], out: IO[bytes]) -> None:
    """Write to `out`, instead of what it has, the recipe of all that `stream` has."""
    out.seek(0)
    out.truncate()
    TarSplitWriter(stream, out).finish()


def size(recipe: Path) -> int:
    """Bytes of the tar. Raises OSError."""
    return sum(item if isinstance(item, int) else len(item) for _, item in _items(recipe))


def stream(recipe: Path, folder: Path) -> Iterator[bytes]:
    """The tar in chunks. Raises BadImage, OSError when a file is not as it was."""
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name, item in _items(recipe):
            if isinstance(item, int):
                yield from _content(root, name, item)
            else:
                yield item
    finally:
        os.close(root)


def _items(recipe: Path) -> Iterator[tuple[str, bytes | int]]:
    """Pieces, and names of files with their sizes."""
    with gzip.open(recipe, "rb") as file:
        while kind := file.read(1):
            (length,) = struct.unpack(">I", file.read(4))
            data = file.read(length)
            if kind == b"F":
                yield os.fsdecode(data), struct.unpack(">Q", file.read(8))[0]
            else:
                yield "", data


def _content(root: int, name: str, count: int) -> Iterator[bytes]:
    with os.fdopen(syscalls.openat2(root, name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, resolve=_RESOLVE), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size != count:
            raise BadImage(f"{name[:200]} of the layer is not as it was")
        while chunk := file.read(_CHUNK):
            yield chunk
