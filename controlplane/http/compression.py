"""Large answers in gzip, for clients that accept it. Watches are never compressed: an event may not wait for the next one.

Source: kube-apiserver's APIResponseCompression, which has the same threshold and level.
"""

from __future__ import annotations

import asyncio
import zlib
from contextlib import aclosing
from dataclasses import replace

from controlplane.http.messages import Chunks, Request, Response

# Bytes from which on it pays, and zlib's fastest level.
THRESHOLD, LEVEL = 128 << 10, 1
# zlib's window bits for a gzip header.
_GZIP = 31
_HEADERS = (("content-encoding", "gzip"), ("vary", "accept-encoding"))


class Packed:
    """A document that is kept in gzip, and sent as it is kept to clients that accept that."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = _whole(content)

    def content(self) -> bytes:
        return zlib.decompress(self._content, _GZIP)

    def response(self, request: Request, media: str, headers: tuple[tuple[str, str], ...]) -> Response:
        if _accepted(request.header("accept-encoding")):
            return Response(self._content, media, 200, (*headers, *_HEADERS))
        return Response(self.content(), media, 200, headers)


async def compressed(request: Request, response: Response) -> Response:
    """The response as it is, or in gzip where that is allowed, accepted and worth it."""
    if not response.compressible or not _accepted(request.header("accept-encoding")):
        return response
    if not isinstance(response.body, bytes):
        return replace(response, body=_pieces(response.body), headers=(*response.headers, *_HEADERS))
    if len(response.body) < THRESHOLD:
        return response
    body = await asyncio.to_thread(_whole, response.body)
    return replace(response, body=body, headers=(*response.headers, *_HEADERS))


def _accepted(header: str) -> bool:
    for part in header.split(","):
        name, _, parameter = part.partition(";")
        if name.strip().lower() == "gzip":
            return parameter.replace(" ", "").lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _whole(body: bytes) -> bytes:
    encoder = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
    return encoder.compress(body) + encoder.flush()


async def _pieces(chunks: Chunks) -> Chunks:
    encoder = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
    async with aclosing(chunks) as pieces:
        async for piece in pieces:
            if data := await asyncio.to_thread(encoder.compress, piece):
                yield data
    yield encoder.flush()
