"""Lists in pages, each as things were at one revision, and the tokens that continue them.

A token is a revision and a key: any process serves it, any number of times, as long as its history reaches back. A page is
collected in steps between which others run, so no list stalls them.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass

from controlplane.store.objects import StoredObject
from controlplane.store.resourcecache import ANY, Narrow
from controlplane.store.watchcache import WatchCache, prefix_of
from pinnace.errors import BadRequest, Expired
from pinnace.kinds import Kind

# Objects that are looked at without a pause; a selector parses each.
STEP = 500
MAX_TOKEN = 4096


@dataclass(frozen=True, slots=True)
class Query:
    """What is listed. `narrow` is a condition that every object which `matches` meets: by it they are found."""

    kind: Kind
    namespace: str = ""
    matches: Callable[[StoredObject], bool] | None = None
    narrow: Narrow = ANY
    # Most objects of a page, 0 for any number, and most bytes, of which one object alone may have more.
    limit: int = 0
    size: int = 1 << 62


@dataclass(frozen=True, slots=True)
class Page:
    """Objects in order of key as they were at `revision`. `token` continues after them, empty at the end. `remaining`: how
    many follow, 0 also when only a selector would tell."""

    rows: list[StoredObject]
    revision: int
    token: str = ""
    remaining: int = 0


async def first_page(cache: WatchCache, query: Query, revision: int = 0) -> Page:
    """As things are now, or were at `revision`. Raises Expired when history does not reach back, or revision lies ahead."""
    if revision > cache.revision:
        raise Expired(f"resource version {revision} lies in the future ({cache.revision})")
    return await _page(cache, query, "", revision or cache.revision)


async def next_page(cache: WatchCache, query: Query, token: str) -> Page:
    """Raises BadRequest for a token that is none, Expired when history does not reach back that far."""
    key, revision = _decode(token)
    if not key.startswith(prefix_of(query.kind, query.namespace)):
        raise BadRequest("the continue token is of another list")
    if revision > cache.revision:
        raise Expired("the continue token is of another state: list again")
    return await _page(cache, query, key, revision)


async def _page(cache: WatchCache, query: Query, key: str, revision: int) -> Page:
    page, size, seen = Page([], revision), 0, 0
    prefix = prefix_of(query.kind, query.namespace)
    while True:
        for row in cache.of(query.kind).after(key, prefix, revision, query.narrow):
            if query.matches is None or query.matches(row):
                size += len(row.value)
                if page.rows and (len(page.rows) == query.limit or size > query.size):
                    remaining = 0 if query.matches else cache.of(query.kind).count(key, prefix)
                    return Page(page.rows, revision, _encode(key, revision), remaining)
                # Of a custom object this may take as long as a selector: not while the page is sent.
                if query.kind.stored is None:
                    row.content(query.kind)
                page.rows.append(row)
            key, seen = row.key, seen + 1
            if seen % STEP == 0:
                break
        else:
            return page
        await asyncio.sleep(0)


def _encode(key: str, revision: int) -> str:
    return base64.urlsafe_b64encode(json.dumps({"rv": revision, "key": key}).encode()).decode()


def _decode(token: str) -> tuple[str, int]:
    try:
        if len(token) > MAX_TOKEN:
            raise ValueError
        value = json.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
        key, revision = value["key"], value["rv"]
        if not isinstance(key, str) or type(revision) is not int or not 0 < revision < 1 << 53:
            raise ValueError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BadRequest("continue: not a continue token") from None
    return key, revision
