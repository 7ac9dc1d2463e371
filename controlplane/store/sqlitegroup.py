"""What a group of transactions does to the rows, worked out in memory before any of it is written. Pure.

So a group costs a few statements, not a few for each transaction, and one that fails leaves nothing to take back.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from controlplane.store.backend import Batch, Change, Committed, Txn, ordered


@dataclass(frozen=True, slots=True)
class Totals:
    """Of all rows together: a lost, added or older row shows in the number or in the digest, which is all checksums XORed."""

    revision: int
    count: int = 0
    digest: int = 0


# Revision and checksum of a row.
Stamp = tuple[int, int]


def checksum(key: str, value: bytes, revision: int) -> int:
    return zlib.crc32(value, zlib.crc32(f"{key}@{revision}".encode()))


@dataclass
class Group:
    """`rows` and `before` are the state before the group; `touched` says whether the log has a change under a prefix after a
    revision."""

    rows: Mapping[str, Stamp]
    before: Totals
    touched: Callable[[str, int], bool]
    batches: list[Batch] = field(default_factory=list)
    # The rows that it changes; None for a deletion.
    stamps: dict[str, Stamp | None] = field(default_factory=dict)
    values: dict[str, bytes | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.revision, self.count, self.digest = self.before.revision, self.before.count, self.before.digest

    @property
    def totals(self) -> Totals:
        return Totals(self.revision, self.count, self.digest)

    def apply(self, txn: Txn) -> Committed | None:
        """None for a conflict."""
        if not self._holds(txn):
            return None
        revisions, changes = [0] * len(txn.writes), list[Change]()
        for index in ordered(txn.writes):
            key, value = txn.writes[index].key, txn.writes[index].value
            if value is not None or self._at(key) is not None:
                revisions[index] = self._write(key, value)
                changes.append(Change(key, value, self.revision))
        if changes:
            self.batches.append(Batch(self.revision, tuple(changes), txn.origin))
        return Committed(tuple(revisions), self.revision)

    def _at(self, key: str) -> Stamp | None:
        return self.stamps[key] if key in self.stamps else self.rows.get(key)

    def _write(self, key: str, value: bytes | None) -> int:
        self.revision += 1
        old = self._at(key)
        new = None if value is None else (self.revision, checksum(key, value, self.revision))
        for stamp, change in ((old, -1), (new, 1)):
            if stamp is not None:
                self.count += change
                self.digest ^= stamp[1]
        self.stamps[key], self.values[key] = new, value
        return self.revision

    def _holds(self, txn: Txn) -> bool:
        for key, revision in txn.reads.items():
            stamp = self._at(key)
            if (stamp[0] if stamp else 0) != revision:
                return False
        return not any(self._changed(prefix, revision) for prefix, revision in txn.ranges.items())

    def _changed(self, prefix: str, revision: int) -> bool:
        return any(key.startswith(prefix) for key in self.stamps) or self.touched(prefix, revision)
