"""Answers to lists: one page where the client set a limit, else everything, page by page as it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator

from controlplane.http.messages import Response
from controlplane.requests.selection import LIST_SIZE, Selection
from controlplane.rest import negotiation
from controlplane.rest.options import EXACT, ListOptions
from controlplane.rest.rendering import ListMeta, Renderer
from controlplane.store import Page, Query, Store, StoredObject
from pinnace.errors import Cause, Timeout

# Seconds that a list waits for a revision which another control plane may have reached.
FUTURE = 3.0
# Bytes of stored objects in one page of a list without a limit: of JSON and protobuf, of tables and metadata, which take four
# times as long to write, and of YAML, which takes ten times as long. Nothing else runs while a page is written.
PIECE, TABLE_PIECE, YAML_PIECE = 512 << 10, 128 << 10, 32 << 10
_TOO_LARGE = "Too large resource version"


async def respond(store: Store, selection: Selection, wanted: ListOptions, renderer: Renderer) -> Response:
    """Raises Expired, Timeout for a revision that lies in the future, BadRequest."""
    # protobuf begins with the size of all that follows, for which every object is looked at.
    sized = renderer.form.media == negotiation.PROTOBUF and not wanted.limit
    size = LIST_SIZE if wanted.limit else 1 << 62 if sized else _page_size(renderer)
    page = await page_of(store, selection.query(wanted.limit, size=size), wanted)
    if sized:
        size = await _size(renderer, page)
        if size > PIECE:
            return Response(_sized(page, renderer, size), renderer.form.content_type, compressible=True)
    if wanted.limit or not page.token:
        meta = ListMeta(page.revision, page.token, page.remaining)
        return Response(renderer.list(page.rows, meta), renderer.form.content_type, compressible=True)
    return Response(_pieces(store, selection, page, renderer), renderer.form.content_type, compressible=True)


async def page_of(store: Store, query: Query, wanted: ListOptions) -> Page:
    """The objects that the options select, at the revision and after the token that they name. Raises as `respond`."""
    await reached(store, wanted.revision)
    exact = wanted.revision if wanted.match == EXACT else 0
    return await store.page(query, wanted.token, revision=exact, stale=wanted.any_revision or bool(wanted.revision))


async def _pieces(store: Store, selection: Selection, page: Page, renderer: Renderer) -> AsyncGenerator[bytes, None]:
    """A whole list as things were at the revision of its first page. When history does not reach back any more, the response
    ends in the middle, which clients see as an error."""
    query = selection.query(0, size=_page_size(renderer))
    separator = renderer.separator
    yield renderer.opening(ListMeta(page.revision), len(page.rows)) + separator.join(renderer.items(page.rows))
    while page.token:
        page = await store.page(query, page.token, stale=True)
        if page.rows:
            yield separator + separator.join(renderer.items(page.rows))
    if renderer.closing:
        yield renderer.closing


def _page_size(renderer: Renderer) -> int:
    if renderer.form.media == negotiation.YAML:
        return min(PIECE, YAML_PIECE)
    return min(PIECE, TABLE_PIECE) if renderer.form.shape else PIECE


async def _size(renderer: Renderer, page: Page) -> int:
    """Bytes of all items."""
    size = 0
    for rows in _steps(page.rows):
        size += sum(map(len, renderer.items(rows)))
        await asyncio.sleep(0)
    return size


async def _sized(page: Page, renderer: Renderer, size: int) -> AsyncGenerator[bytes, None]:
    """A whole list in pieces of objects, which do not change: slow clients share them with the watch cache, and none
    has a copy of its own."""
    yield renderer.opening(ListMeta(page.revision), size)
    for rows in _steps(page.rows):
        yield b"".join(renderer.items(rows))


def _steps(rows: list[StoredObject]) -> Iterator[list[StoredObject]]:
    """The objects in groups of some PIECE bytes."""
    group, size = list[StoredObject](), 0
    for row in rows:
        group.append(row)
        size += len(row.value)
        if size >= PIECE:
            yield group
            group, size = [], 0
    if group:
        yield group


async def reached(store: Store, revision: int) -> None:
    """Wait until this process has seen a revision. Raises Timeout."""
    if revision <= store.revision:
        return
    try:
        async with asyncio.timeout(FUTURE):
            await store.sync()
            await store.cache.reached(revision)
    except TimeoutError:
        cause = Cause("", _TOO_LARGE, "ResourceVersionTooLarge")
        raise Timeout(f"{_TOO_LARGE}: {revision}, current: {store.revision}", causes=(cause,), retry_after=1) from None
