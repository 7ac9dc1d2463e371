"""A watch: the state of a selection, if asked for, then its changes. Both API servers put them into their own messages."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from controlplane.requests.selection import Selection
from controlplane.store import Event, Store, StoredObject
from controlplane.store.watcher import Watcher
from pinnace.errors import Invalid

# Objects, and their bytes, in one batch of the initial state: what a watcher holds that does not read.
BATCH, BATCH_SIZE = 100, 64 << 10


class Type(enum.Enum):
    """SYNCED: the initial state is complete. BOOKMARK: nothing has changed up to a revision."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    SYNCED = "SYNCED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True, slots=True)
class Change:
    """What a watcher of a selection sees. `row`: the object, in its last state if deleted; None in SYNCED and BOOKMARK."""

    type: Type
    revision: int
    row: StoredObject | None = None


async def watch(
    store: Store,
    selection: Selection,
    revision: str,
    *,
    initial: bool | None = None,
    bookmarks: float | None = None,
    until: float | None = None,
) -> AsyncGenerator[list[Change], None]:
    """Batches of changes after `revision`; without one, and from "0" on, the state first, which for "0" may be an older one.

    `initial`: the state first in any case, or in no case. `bookmarks`: seconds without a change after which there is one.
    `until`: the time of the loop at which the watch ends. Source: "Resource versions" of the Kubernetes API concepts.
    Raises Expired, Invalid."""
    after = parse_revision(revision) if revision else 0
    if not revision:
        await store.sync()
    state = not after if initial is None else initial
    watcher = await store.watch_from(selection.kind, store.revision if state or not after else after)
    # Also a watcher that leaves before it has read the state closes.
    try:
        if state:
            async with aclosing(_present(store, selection, watcher.revision)) as batches:
                async for batch in batches:
                    yield batch
        async with aclosing(_changes(store, selection, watcher, bookmarks, until)) as batches:
            async for batch in batches:
                yield batch
    finally:
        watcher.close()


async def _present(store: Store, selection: Selection, revision: int) -> AsyncGenerator[list[Change], None]:
    """The state at `revision`, and SYNCED. In pages that are found when they are sent, so that a reader that does not read
    holds nothing; it gets Expired when history does not reach back to them any more."""
    query, token = selection.query(BATCH, size=BATCH_SIZE), ""
    while True:
        page = await store.page(query, token, revision=revision, stale=True)
        changes, token = [Change(Type.ADDED, row.revision, row) for row in page.rows], page.token
        if not token:
            changes.append(Change(Type.SYNCED, revision))
        yield changes
        if not token:
            return


async def _changes(
    store: Store, selection: Selection, watcher: Watcher, bookmarks: float | None, until: float | None
) -> AsyncGenerator[list[Change], None]:
    loop = asyncio.get_running_loop()
    while until is None or loop.time() < until:
        left = None if until is None else until - loop.time()
        pause = min((seconds for seconds in (bookmarks, left) if seconds is not None), default=None)
        try:
            async with asyncio.timeout(pause):
                events = await watcher.next()
        except TimeoutError:
            if bookmarks is not None and watcher.caught_up:
                yield [Change(Type.BOOKMARK, store.revision)]
            continue
        changes = [change for event in events if (change := _translate(event, selection)) is not None]
        # Their earlier objects are nothing that a watcher needs to hold.
        del events
        if changes:
            yield changes


def parse_revision(text: str) -> int:
    """Raises Invalid."""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Invalid(f'resourceVersion "{text[:40]}" is not a number')
    return int(text)


def _translate(event: Event, selection: Selection) -> Change | None:
    """What a watcher with a selector sees. An object that stops matching is deleted to it, as it last matched."""
    before, after = selection.matches(event.old), selection.matches(event.new)
    if after and event.new is not None:
        return Change(Type.MODIFIED if before else Type.ADDED, event.new.revision, event.new)
    if before and event.old is not None:
        last = StoredObject(event.old.kind, event.old.key, event.old.value, event.revision)
        return Change(Type.DELETED, event.revision, last)
    return None
