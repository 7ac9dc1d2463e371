"""The seam to the durable log. SQLite, etcd and memory implement it; `tests/contract/` holds them to this text.

Terms. A *key* is a path such as `/registry/pods/default/web`. A *revision* is a positive integer that grows with every
transaction that writes; all writes of one transaction share it. An item's revision is that of its last write.

A transaction says what was read to decide it (`reads`, `ranges`) and what to write. It commits when nothing read has
changed since, else it conflicts and writes nothing. Transactions given to one `commit` may share one durable write, but
each commits or conflicts by itself, in order, and sees the ones before it.

    snapshot = await backend.load("/registry/")
    async for batch in backend.watch("/registry/", after=snapshot.revision): ...
    [revision] = await backend.commit([Txn(reads={key: 0}, writes=(Write(key, b"..."),))])   # create, or None
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Item:
    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All items under a prefix as they were together at `revision`."""

    items: tuple[Item, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Write:
    """`value` None deletes; deleting what is absent writes nothing and is no error."""

    key: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Txn:
    """`reads`: key to the revision it was read at, 0 for absent. `ranges`: prefix to the revision it was listed at; a
    write or delete under it since then is a conflict."""

    writes: tuple[Write, ...]
    reads: Mapping[str, int] = field(default_factory=dict)
    ranges: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    key: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction changed. Batches of a watch come in order of revision, whole, each once."""

    revision: int
    changes: tuple[Change, ...]


class Compacted(Exception):
    """The history asked for is gone, or the watcher fell too far behind: load again."""


class Backend(Protocol):
    # Whether this process is the only one that can write.
    exclusive: bool

    async def load(self, prefix: str) -> Snapshot:
        """The items under `prefix` now. The snapshot's revision is a valid `after` for a watch."""

    async def commit(self, txns: Sequence[Txn]) -> list[int | None]:
        """Each transaction's revision, or None for a conflict. On return the writes are durable.

        Raises pinnace.errors.Unavailable when the outcome is unknown or nothing was written."""

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        """Batches with a revision above `after`, endlessly. Raises Compacted, at once or later."""

    async def compact(self, before: int) -> None:
        """Forget history below `before`. Items stay."""

    async def close(self) -> None:
        """Release everything; watches end."""
