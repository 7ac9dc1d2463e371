"""The interface to the durable log. SQLite, etcd and memory implement it; `tests/contract/` holds them to this text.

Terms. A *key* is a path such as `/registry/pods/default/web`. A *revision* is a positive integer below 2**53 that grows with
every write: each write of a transaction has its own. An item's revision is that of its last write. A transaction is told to
watchers as one *batch* of changes: its deletions in order of key, then its puts in the order given. So a watch that resumes
after any change neither misses nor repeats one.

A transaction says what was read to decide it (`reads`, `ranges`) and what to write. It commits when nothing read has
changed since, else it conflicts and writes nothing. Transactions given to one `commit` may share one durable write, but
each commits, conflicts or fails by itself and sees the ones before it. Those that touch nothing of each other may commit
in any order.

    snapshot = await backend.load("/registry/")
    async for batch in backend.watch("/registry/", after=snapshot.revision): ...
    [result] = await backend.commit([Txn(reads={key: 0}, writes=(Write(key, b"..."),))])   # create, or None
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from controlplane.store.origin import Origin
from pinnace.errors import ApiError, TooLarge


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
    write or delete under it since then is a conflict. A key is written once, or deleted and then put: it is then told as
    a deletion and a creation. `origin` is told to watchers; it decides nothing."""

    writes: tuple[Write, ...]
    reads: Mapping[str, int] = field(default_factory=dict)
    ranges: Mapping[str, int] = field(default_factory=dict)
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """`revisions`: that of each write of the transaction, 0 for the deletion of an absent key. `revision`: the state's
    after the transaction."""

    revisions: tuple[int, ...]
    revision: int


# None is a conflict; an error is of this transaction alone, and says whether trying again may help.
Result = Committed | ApiError | None


@dataclass(frozen=True, slots=True)
class Change:
    key: str
    value: bytes | None
    revision: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One transaction's changes in order of their revisions. `revision`: the state's after it, which may be above that of
    the last change. Batches of a watch come in order, whole, each once; one without changes only moves the revision on.
    `origin`: the transaction's, None where the backend does not know it any more."""

    revision: int
    changes: tuple[Change, ...]
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """`operations`: writes of one transaction, and also its reads, with all ranges as one. `size`: bytes of keys and values.
    `group`: transactions that gain from sharing one commit. `commits`: calls of `commit` that may run at once."""

    operations: int
    size: int
    group: int
    commits: int

    def refusal(self, txn: Txn) -> TooLarge | None:
        """The error of a transaction that can never be committed, else None."""
        count = max(len(txn.writes), len(txn.reads) + bool(txn.ranges))
        if count > self.operations:
            return TooLarge(f"a transaction of {count} operations is more than the store takes ({self.operations})")
        size = sum(len(write.key) + len(write.value or b"") for write in txn.writes)
        if size > self.size:
            return TooLarge(f"a transaction of {size} bytes is more than the store takes ({self.size})")
        return None


class Compacted(Exception):
    """The history asked for is gone, or the watcher fell too far behind: load again."""


class Backend(Protocol):
    # Whether this process is the only one that can write.
    exclusive: bool
    limits: Limits

    async def load(self, prefix: str) -> Snapshot:
        """The items under `prefix` now. The snapshot's revision is a valid `after` for a watch."""

    async def commit(self, txns: Sequence[Txn]) -> list[Result]:
        """One result for each transaction, in order. On return the writes are durable.

        An error is Unavailable when its outcome is unknown or nothing was written, TooLarge when it is beyond `limits`."""

    async def current(self) -> int:
        """A revision that is not below that of any write whose commit returned before this call, in any process. Writes
        nothing. Raises Unavailable."""

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        """Batches with a revision above `after`, endlessly. Raises Compacted, at once or later."""

    async def compact(self, before: int) -> None:
        """Forget history below `before`. Items stay."""

    async def close(self) -> None:
        """Release everything; watches end."""


@runtime_checkable
class Quarantine(Protocol):
    """Of a backend that puts damaged rows aside; the others show them, and the cache tells."""

    async def quarantined_keys(self, most: int) -> list[str]:
        """The keys of at most so many rows, each once; bytes that are not text are escaped. Raises Unavailable."""

    @property
    def quarantine_file(self) -> str:
        """The path of the file that holds them."""


def ordered(writes: Sequence[Write]) -> list[int]:
    """Indexes into `writes` in the order of their revisions: deletions by key, then puts as given."""
    deletions = sorted((i for i, write in enumerate(writes) if write.value is None), key=lambda i: writes[i].key)
    return deletions + [i for i, write in enumerate(writes) if write.value is not None]
