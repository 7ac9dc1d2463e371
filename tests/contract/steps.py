"""What the contract's tests say over and over: short transactions, and watches read up to now."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from controlplane.store.backend import Backend, Batch, Change, Result, Snapshot, Txn, Write
from pinnace.errors import ApiError

ROOT = "/registry/"
PODS = "/registry/pods/"
NODES = "/registry/nodes/"
WEB = "/registry/pods/default/web"
# A test that waits longer than this has failed, in seconds.
DEADLINE = 20.0
_marks = (f"~mark{number}" for number in itertools.count())


def put(key: str, value: bytes = b"v", **read: Any) -> Txn:
    return Txn((Write(key, value),), **read)


def delete(key: str, **read: Any) -> Txn:
    return Txn((Write(key, None),), **read)


async def one(backend: Backend, txn: Txn) -> int | None:
    """The revision of its last write, or the state's when it wrote nothing; None for a conflict."""
    [result] = await backend.commit([txn])
    return last(result)


def last(result: Result) -> int | None:
    """Raises the error that the result is."""
    if isinstance(result, ApiError):
        raise result
    return result if result is None else max(result.revisions, default=0) or result.revision


def change(key: str, value: bytes | None, revision: int) -> tuple[Change, ...]:
    """The changes of a batch of one write."""
    return (Change(key, value, revision),)


def changes_of(batches: Sequence[Batch]) -> list[tuple[Change, ...]]:
    return [batch.changes for batch in batches]


async def group(backend: Backend, *txns: Txn) -> list[int | None]:
    """Like `one`, of several in one commit."""
    return [last(result) for result in await backend.commit(txns)]


def revisions_of(batches: Sequence[Batch]) -> list[int]:
    """The revision of the last change of each batch."""
    return [batch.changes[-1].revision for batch in batches]


async def wrote(backend: Backend, txn: Txn) -> int:
    """Commit what cannot conflict."""
    revision = await one(backend, txn)
    assert revision is not None
    return revision


def values(snapshot: Snapshot) -> dict[str, bytes]:
    return {item.key: item.value for item in snapshot.items}


def as_map(batch: Batch) -> Mapping[str, bytes | None]:
    return {change.key: change.value for change in batch.changes}


async def read_until(batches: AsyncIterator[Batch], key: str) -> list[Batch]:
    """Batches up to the one that touches `key`."""
    got: list[Batch] = []
    async with asyncio.timeout(DEADLINE):
        async for batch in batches:
            if any(change.key == key for change in batch.changes):
                return got
            if batch.changes:
                got.append(batch)
    raise AssertionError(f"the watch ended after {got}")


async def watched(backend: Backend, prefix: str, *, after: int) -> list[Batch]:
    """Everything that a watch yields up to now, by reading up to a last write of its own."""
    mark = prefix + next(_marks)
    await wrote(backend, put(mark))
    async with aclosing(backend.watch(prefix, after=after)) as batches:
        got = await read_until(batches, mark)
    return [batch for batch in got if "~mark" not in batch.changes[0].key]


def replay(state: dict[str, bytes], batches: list[Batch]) -> dict[str, bytes]:
    changes: list[Change] = [change for batch in batches for change in batch.changes]
    for change in changes:
        if change.value is None:
            state.pop(change.key, None)
        else:
            state[change.key] = change.value
    return state
