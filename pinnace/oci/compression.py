"""A layer's bytes to a plain tar: gzip, zstd or nothing, told by their first bytes and not by what a document claims.

zstd is imported when a layer needs it.
"""

from __future__ import annotations

import gzip
import zlib
from typing import IO, Any, cast

from pinnace.oci import BadImage

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
# What `zstd --long=27` needs; also the most that libzstd's own tools take without being asked.
_MAX_WINDOW = 128 << 20


class Decompressed:
    """`read` raises BadImage where the stream is damaged."""

    def __init__(self, stream: Any, errors: tuple[type[Exception], ...]) -> None:
        self._stream = stream
        self._errors = errors

    def read(self, size: int = -1) -> bytes:
        try:
            return bytes(self._stream.read(size))
        except self._errors as error:
            raise BadImage(f"its compression is damaged: {error}") from None


def compressed(start: bytes) -> bool:
    return start[:2] == _GZIP or start[:4] == _ZSTD


def decompressed(stream: IO[bytes]) -> IO[bytes]:
    """A reader of the uncompressed bytes. `stream` must be seekable and at its beginning."""
    start = stream.read(4)
    stream.seek(0)
    if start[:2] == _GZIP:
        return cast(IO[bytes], Decompressed(gzip.GzipFile(fileobj=stream), (EOFError, zlib.error, gzip.BadGzipFile)))
    if start == _ZSTD:
        import zstandard

        reader = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(stream, read_across_frames=True)
        return cast(IO[bytes], Decompressed(reader, (zstandard.ZstdError,)))
    return stream
