"""Finds records again: the lives of an object by name, the objects that it owns, and their records in order.

Each query opens the file for itself, read-only, in a thread of its own, so that an idle control plane holds nothing. All
numbers are bounded: objects below one, records of one answer.
"""

from __future__ import annotations

import itertools
import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.timeline.records import Subject, made_up
from pinnace.kinds import Kind

# Owners above an object that are followed, objects of one answer, lives of one name that are listed.
MAX_DEPTH, MAX_OBJECTS, MAX_LIVES = 10, 2_000, 20
# Numbers of one SQL statement.
_CHUNK = 500
_FIND = """
SELECT id, uid, api_version, kind, namespace, name, created, deleted FROM objects
WHERE kind = ? AND namespace = ? AND name = ? ORDER BY id DESC LIMIT ?
"""
_OWNED = """
SELECT o.id, o.uid, o.api_version, o.kind, o.namespace, o.name, o.created, o.deleted
FROM owners w JOIN objects o ON o.id = w.object WHERE w.owner = ? ORDER BY o.id DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Life:
    """An object as the file knows it. `created`, `deleted`: seconds since the epoch, None where not recorded."""

    number: int
    subject: Subject
    created: float | None
    deleted: float | None


@dataclass(frozen=True, slots=True)
class Found:
    """A record as it is stored; `subject` None for a gap."""

    seq: int
    number: int
    time: float
    type: int
    revision: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """`since` and `until`: seconds since the epoch; `types`: empty for all; `after`: only records with a higher number."""

    since: float = 0.0
    until: float = math.inf
    types: tuple[int, ...] = ()
    after: int = 0


class Reader:
    """Over one connection, within `opened`. Raises sqlite3.Error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def lives(self, kind: Kind, namespace: str, name: str) -> list[Life]:
        """Objects that have had this name, the newest first. Those of another group are not among them."""
        rows = map(_life, self._db.execute(_FIND, (kind.kind, namespace, name, MAX_LIVES)))
        return [life for life in rows if life.subject.api_version.rpartition("/")[0] == kind.group]

    def owned(self, root: Life) -> tuple[list[Life], bool]:
        """The object and all that it owns or owned, directly or not; whether there are more."""
        found, level = {root.number: root}, [root]
        for _ in range(MAX_DEPTH):
            owners, level = level, []
            # One by one: an object may have had many owners, and each of these many objects.
            for life in itertools.chain.from_iterable(map(self._below, owners)):
                if life.number in found:
                    continue
                if len(found) >= MAX_OBJECTS:
                    return list(found.values()), True
                found[life.number] = life
                level.append(life)
            if not level:
                break
        return list(found.values()), False

    def _below(self, owner: Life) -> Iterable[Life]:
        return map(_life, self._db.execute(_OWNED, (owner.subject.uid, MAX_OBJECTS)))

    def numbers(self, objects: Sequence[int], wanted: Wanted, most: int) -> tuple[list[int], bool]:
        """Numbers of the newest records of these objects, at most `most`, oldest first; whether there are older ones."""
        found = list[int]()
        for start in range(0, len(objects), _CHUNK):
            part = objects[start : start + _CHUNK]
            types = f"AND type IN ({_marks(wanted.types)})" if wanted.types else ""
            sql = (
                f"SELECT seq FROM records WHERE object IN ({_marks(part)}) {types} AND time BETWEEN ? AND ? AND seq > ? "  # noqa: S608 (marks)
                "ORDER BY seq DESC LIMIT ?"
            )
            values = (*part, *wanted.types, wanted.since, wanted.until, wanted.after, most + 1)
            found += [seq for (seq,) in self._db.execute(sql, values)]
        found.sort()
        return found[-most:], len(found) > most

    def records(self, numbers: Sequence[int]) -> Iterator[Found]:
        """The records of these numbers, at most _CHUNK; those that were removed meanwhile are left out."""
        sql = f"SELECT seq, object, time, type, revision, body FROM records WHERE seq IN ({_marks(numbers)}) ORDER BY seq"  # noqa: S608
        for seq, number, time, type_, revision, body in self._db.execute(sql, tuple(numbers)):
            yield Found(seq, number, time, type_, revision, _body(body))

    def begin(self) -> float:
        """When the oldest record was made; 0 without one."""
        row = self._db.execute("SELECT time FROM records ORDER BY seq LIMIT 1").fetchone()
        return 0.0 if row is None else float(row[0])

    def end(self) -> int:
        """The number of the newest record."""
        return int(self._db.execute("SELECT coalesce(max(seq), 0) FROM records").fetchone()[0])


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _life(row: Sequence[Any]) -> Life:
    number, uid, api_version, kind, namespace, name, created, deleted = row
    return Life(number, Subject(uid, api_version, kind, namespace, name), created, deleted)


def _body(data: bytes) -> dict[str, Any]:
    """A damaged body is an empty one: the record still says that there was something."""
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def is_made_up(life: Life) -> bool:
    """Whether the life stands for events that named their object without its uid."""
    subject = life.subject
    return subject.uid in (subject.name, made_up(subject.kind, subject.namespace, subject.name))


@contextmanager
def opened(path: Path) -> Iterator[Reader]:
    """Raises sqlite3.Error."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=2.0)) as db:
        db.execute("PRAGMA cache_size=-512")
        db.execute("PRAGMA query_only=1")
        yield Reader(db)
