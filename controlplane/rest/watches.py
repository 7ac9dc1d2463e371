"""Answers to watches: events as they happen, until the time is up, the client leaves, or it fell behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from controlplane.http.messages import Response
from controlplane.requests import watching
from controlplane.requests.selection import Selection
from controlplane.requests.watching import Change, Type
from controlplane.rest import negotiation, status
from controlplane.rest.lists import reached
from controlplane.rest.options import ListOptions
from controlplane.rest.rendering import Renderer
from controlplane.store import Store
from pinnace.errors import ApiError

# Seconds of a watch: by default, at most, and between bookmarks.
DEFAULT, MOST, BOOKMARKS = 2700, 3600, 60.0
# Bytes of events in one chunk.
CHUNK = 256 << 10


def respond(store: Store, selection: Selection, wanted: ListOptions, renderer: Renderer) -> Response:
    media = renderer.form.media
    content_type = f"{media};stream=watch" if media == negotiation.PROTOBUF else media
    return Response(_events(store, selection, wanted, renderer), content_type)


async def _events(store: Store, selection: Selection, wanted: ListOptions, renderer: Renderer) -> AsyncGenerator[bytes, None]:
    ends = asyncio.get_running_loop().time() + min(wanted.timeout or DEFAULT, MOST)
    try:
        await reached(store, wanted.revision if wanted.initial else 0)
        async with aclosing(_changes(store, selection, wanted, ends)) as batches:
            async for batch in batches:
                for piece in _chunks(batch, wanted, renderer):
                    yield piece
    except ApiError as error:
        yield renderer.error(status.failure(error))


def _changes(store: Store, selection: Selection, wanted: ListOptions, ends: float) -> AsyncGenerator[list[Change], None]:
    revision = "" if wanted.revision == 0 and not wanted.any_revision else str(wanted.revision)
    every = BOOKMARKS if wanted.bookmarks else None
    return watching.watch(store, selection, revision, initial=wanted.initial, bookmarks=every, until=ends)


def _chunks(batch: list[Change], wanted: ListOptions, renderer: Renderer) -> list[bytes]:
    pieces, chunk, size = list[bytes](), list[bytes](), 0
    for change in batch:
        piece = _piece(change, wanted, renderer)
        chunk.append(piece)
        size += len(piece)
        if size >= CHUNK:
            pieces.append(b"".join(chunk))
            chunk, size = [], 0
    if size:
        pieces.append(b"".join(chunk))
    return pieces


def _piece(change: Change, wanted: ListOptions, renderer: Renderer) -> bytes:
    if change.row is not None:
        return renderer.event(change.type.value, change.row)
    initial = change.type is Type.SYNCED and bool(wanted.initial)
    if not wanted.bookmarks or (change.type is Type.SYNCED and not initial):
        return b""
    return renderer.bookmark(change.revision, initial=initial)
