"""Header blocks of SPDY/3.1: name-value pairs, compressed with one zlib stream in each direction.

The stream of a direction never ends, so a block that was not decompressed makes all later ones unreadable: every block has
to pass through here, also those of frames that are ignored. Bounds are on the decompressed size, against blocks that expand.

Source: SPDY Protocol Draft 3.1, section 2.6.10.
"""

from __future__ import annotations

import struct
import zlib

# Bytes of a decompressed block, and its pairs. Streams of Kubernetes have three short headers.
MAX_BLOCK = 16 << 10
MAX_PAIRS = 64
_LENGTH = struct.Struct("!I")
# zlib's CM 8, CINFO 7, and FDICT: what follows is the checksum of the dictionary.
_WINDOW_BITS = 15

# The dictionary: words with their lengths, then text. An interface constant; its adler32 is 0xe3c6a7c2.
_WORDS = (
    "options|head|post|put|delete|trace|accept|accept-charset|accept-encoding|accept-language|accept-ranges|age|"
    "allow|authorization|cache-control|connection|content-base|content-encoding|content-language|content-length|"
    "content-location|content-md5|content-range|content-type|date|etag|expect|expires|from|host|if-match|"
    "if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|location|max-forwards|pragma|"
    "proxy-authenticate|proxy-authorization|range|referer|retry-after|server|te|trailer|transfer-encoding|upgrade|"
    "user-agent|vary|via|warning|www-authenticate|method|get|status|200 OK|version|HTTP/1.1|url|public|set-cookie|"
    "keep-alive|origin"
)
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(_LENGTH.pack(len(word)) + word.encode() for word in _WORDS.split("|")) + _TEXT.encode()


class MalformedHeaders(Exception):
    """A block that cannot be read, or exceeds a bound. The direction is unusable afterwards."""


class HeaderDecoder:
    """The blocks of the client, in the order of their arrival."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(_WINDOW_BITS, zdict=DICTIONARY)

    def decode(self, block: bytes) -> dict[str, str]:
        """Raises MalformedHeaders."""
        try:
            plain = self._zlib.decompress(block, MAX_BLOCK + 1)
        except zlib.error as error:
            raise MalformedHeaders(f"header block: {error}") from None
        if len(plain) > MAX_BLOCK or self._zlib.unconsumed_tail:
            raise MalformedHeaders(f"header block of more than {MAX_BLOCK} bytes")
        if self._zlib.eof:
            raise MalformedHeaders("the compressed stream of headers ended")
        return _pairs(plain)


class HeaderEncoder:
    """Our own blocks, in the order in which they are sent."""

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, _WINDOW_BITS, zdict=DICTIONARY)

    def encode(self, headers: dict[str, str]) -> bytes:
        """Names must be lower case, and neither they nor values empty."""
        plain = _LENGTH.pack(len(headers))
        for name, value in headers.items():
            for item in (name.encode(), value.encode()):
                plain += _LENGTH.pack(len(item)) + item
        return self._zlib.compress(plain) + self._zlib.flush(zlib.Z_SYNC_FLUSH)


def _pairs(plain: bytes) -> dict[str, str]:
    """Names in lower case; values of one name are separated by NUL. Raises MalformedHeaders."""
    try:
        (count,) = _LENGTH.unpack_from(plain)
        if count > MAX_PAIRS:
            raise MalformedHeaders(f"{count} headers in a block, more than {MAX_PAIRS}")
        found: dict[str, str] = {}
        position = _LENGTH.size
        for _ in range(count):
            name, position = _text(plain, position)
            name = name.lower()
            value, position = _text(plain, position)
            if not name or name in found:
                raise MalformedHeaders("a header without a name, or twice in a block")
            found[name] = value
    except (struct.error, UnicodeDecodeError) as error:
        raise MalformedHeaders(f"header block: {error}") from None
    if position != len(plain):
        raise MalformedHeaders("a header block is longer than its headers")
    return found


def _text(plain: bytes, position: int) -> tuple[str, int]:
    """The text at `position` and the position after it."""
    (length,) = _LENGTH.unpack_from(plain, position)
    end = position + _LENGTH.size + length
    if end > len(plain):
        raise MalformedHeaders("a header is longer than its block")
    return plain[position + _LENGTH.size : end].decode(), end
