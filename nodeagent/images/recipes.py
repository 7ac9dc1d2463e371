"""How to make a layer's tar again, to the byte, from its unpacked folder: without it, only what was built here could be
given to another node.

A recipe is the tar without the content of its files, which are in the folder: pieces of it as they were, and names of
files in between. (The idea is tar-split's, which Docker and containers/storage use for the same.)

    piece: b"I", 4 bytes of length, bytes        file: b"F", 4 bytes of length, name, 8 bytes of size        gzip around all
"""

from __future__ import annotations

import gzip
import os
import stat
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from nodeagent.runtime.native import syscalls
from pinnace.oci import BadImage

_CHUNK = 1 << 20
# Bytes kept back until it is known what they are; tarfile reads ahead by 10 KiB.
_AHEAD = 256 << 10
_RESOLVE = 0x08 | 0x04  # RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS


class Recorder:
    """A stream that writes the recipe of what is read through it. `note` is called for each member before its content."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream = stream
        self._out = gzip.GzipFile(path, "wb", compresslevel=1)
        # What has been read from offset `_start` on and is in no recipe yet; up to `_skip` it is a file's content.
        self._pending = bytearray()
        self._start = self._skip = 0
        self._names: set[str] = set()
        self.whole = True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        dropped = min(len(data), max(0, self._skip - self._start - len(self._pending)))
        self._start += dropped
        self._pending += data[dropped:]
        if len(self._pending) > _AHEAD:
            self._piece(len(self._pending))
        return data

    def note(self, member: tarfile.TarInfo) -> None:
        if not member.isreg() or member.sparse is not None or not member.size or member.offset_data < self._start:
            return
        name = "/".join(part for part in member.name.split("/") if part not in ("", "."))
        # A second file of the same name has replaced the first, whose content is gone.
        self.whole = self.whole and name not in self._names
        self._names.add(name)
        self._piece(member.offset_data - self._start)
        raw = os.fsencode(name)
        self._out.write(b"F" + struct.pack(">I", len(raw)) + raw + struct.pack(">Q", member.size))
        self._skip = member.offset_data + member.size
        here = min(member.size, len(self._pending))
        del self._pending[:here]
        self._start += here

    def _piece(self, count: int) -> None:
        if count:
            self._out.write(b"I" + struct.pack(">I", count) + bytes(self._pending[:count]))
            del self._pending[:count]
            self._start += count

    def finish(self) -> None:
        """Read to the end: there may be more than tarfile wants."""
        while self.read(_CHUNK):
            pass
        self._piece(len(self._pending))

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        self._out.close()


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
