"""A layer's bytes to a plain tar: gzip, zstd, bzip2, xz or nothing, told by their first bytes and not by a document's claim.

The same kinds as `docker load` and skopeo take. Streams of several parts (gzip members, zstd frames, also skippable ones)
are read as one; zeros after a gzip member are padding. Modules are imported when a layer needs them.
"""

from __future__ import annotations

import functools
import gzip
import zlib
from typing import IO, Any, cast

from pinnace.oci import BadImage

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_BZIP2 = b"BZh"
_XZ = b"\xfd7zXZ\0"
# The longest of the above.
_START = 6
# What `zstd --long=27` needs, which is also the most that libzstd's own tools take unasked; and xz -9 with room.
_MAX_WINDOW = 128 << 20
_CHUNK = 256 << 10


class Decompressed:
    """`read` raises BadImage where the stream is damaged, ends early, or needs more memory than it may."""

    def __init__(self, stream: Any, errors: tuple[type[Exception], ...]) -> None:
        self._stream = stream
        self._errors = errors

    def read(self, size: int = -1) -> bytes:
        try:
            return bytes(self._stream.read(size))
        except self._errors as error:
            raise BadImage(f"its compression is damaged: {error}") from None


class _Parts:
    """A file of bzip2 or xz streams, one after the other; `make` makes the decompressor of one."""

    def __init__(self, file: IO[bytes], make: Any) -> None:
        self._file = file
        self._make = make
        self._part = make()

    def read(self, size: int) -> bytes:
        """Some of the content, up to `size` bytes; empty at its end. Raises EOFError in the middle of a stream."""
        while True:
            given = b""
            if self._part.eof:
                # xz pads with zeros between streams and after the last.
                given = self._part.unused_data.lstrip(b"\0")
                while not given:
                    if not (chunk := self._file.read(_CHUNK)):
                        return b""
                    given = chunk.lstrip(b"\0")
                self._part = self._make()
            elif self._part.needs_input and not (given := self._file.read(_CHUNK)):
                raise EOFError("it ends in the middle of a stream")
            if data := self._part.decompress(given, size):
                return bytes(data)


def compressed(start: bytes) -> bool:
    """Whether the first bytes of a file (six or more) are those of a kind that `decompressed` reads."""
    return start[:2] == _GZIP or _is_zstd(start) or start[:3] == _BZIP2 or start[:6] == _XZ


def _is_zstd(start: bytes) -> bool:
    """A frame, or a skippable one, with which a file may begin (0x184D2A50 to 0x184D2A5F). Source: RFC 8878, 3.1.2."""
    return start[:4] == _ZSTD or (start[1:4] == b"\x2a\x4d\x18" and start[0] & 0xF0 == 0x50)


def decompressed(stream: IO[bytes]) -> IO[bytes]:
    """A reader of the uncompressed bytes. `stream` must be seekable and at its beginning."""
    start = stream.read(_START)
    stream.seek(0)
    found: Any = stream
    if start[:2] == _GZIP:
        found = Decompressed(gzip.GzipFile(fileobj=stream), (EOFError, zlib.error, gzip.BadGzipFile))
    elif _is_zstd(start):
        import zstandard

        reader = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(stream, read_across_frames=True)
        found = Decompressed(reader, (zstandard.ZstdError,))
    elif start[:3] == _BZIP2:
        import bz2

        found = Decompressed(_Parts(stream, bz2.BZ2Decompressor), (OSError, EOFError))
    elif start[:6] == _XZ:
        import lzma

        make = functools.partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, memlimit=_MAX_WINDOW)
        found = Decompressed(_Parts(stream, make), (lzma.LZMAError, EOFError))
    return cast(IO[bytes], found)
