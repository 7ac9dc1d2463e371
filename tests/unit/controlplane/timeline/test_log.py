"""The file of the timeline: bounded by size and age, private, and sound after a crash."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.timeline import reading, records
from controlplane.timeline.log import InUse, Limits, Log
from controlplane.timeline.reading import Life, Reader, Wanted
from controlplane.timeline.records import Record, Subject, Type
from pinnace import kinds

WEB = Subject("u-web", "v1", "ConfigMap", "default", "web")
MIB = 1 << 20


def record(revision: int, *, time: float = 0.0, subject: Subject = WEB, owners: tuple[str, ...] = (), **body: Any) -> Record:
    return Record(Type.CHANGED, time or float(revision), revision, subject, owners, body)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "timeline.db"


def opened(path: Path, limits: Limits | None = None, **how: Any) -> Log:
    log = Log(path, limits or Limits())
    log.open(**how)
    return log


def revisions(path: Path, subject: Subject = WEB, wanted: Wanted | None = None, most: int = 1_000_000) -> list[int]:
    """Of the records of an object, in their order."""
    with reading.opened(path) as reader:
        objects = [life.number for life in reader.lives(kinds.CONFIG_MAP, subject.namespace, subject.name)]
        numbers, _ = reader.numbers(objects, wanted or Wanted(), most)
        parts = [numbers[start : start + 500] for start in range(0, len(numbers), 500)]
        return [found.revision for part in parts for found in reader.records(part)]


def size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


def test_records_are_found_in_their_order(path: Path) -> None:
    """Also after the file was closed, with the revision up to which it knows everything."""
    log = opened(path)
    log.append([record(5, note="a"), record(7)], seen=9, now=10)
    log.append([record(8)], seen=11, now=10)
    assert revisions(path) == [5, 7, 8]
    log.close()
    again = Log(path, Limits())
    assert again.open() == 11
    assert revisions(path) == [5, 7, 8]
    again.close()


def test_it_belongs_to_its_user_alone(path: Path) -> None:
    """Each file of it, whatever the umask."""
    before = os.umask(0)
    try:
        log = opened(path)
        log.append([record(1)], seen=1, now=1)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    log.close()
    assert set(modes.values()) == {0o600}
    assert {"timeline.db", "timeline.db-wal"} <= set(modes)


def test_a_link_in_its_place_is_not_followed(path: Path) -> None:
    """Its directory is the control plane's own, but a link would still lead anywhere."""
    path.symlink_to(path.parent / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        opened(path)


def test_the_oldest_records_make_room(path: Path) -> None:
    """The file stays below its size, however much is written, and the newest records stay."""
    log = opened(path, Limits(size=MIB, age=0))
    for start in range(0, 20_000, 200):
        log.append([record(at + 1, note="x" * 300) for at in range(start, start + 200)], seen=start, now=1)
        # The WAL is at most what one checkpoint leaves.
        assert size(path) < 3 * MIB
    kept = revisions(path)
    log.close()
    assert kept == list(range(kept[0], 20_001))
    assert 1_000 < len(kept) < 4_000


def test_old_records_and_objects_without_any_go(path: Path) -> None:
    """In pieces, as others are written; an object that still has records stays."""
    log = opened(path, Limits(age=100.0))
    other = Subject("u-other", "v1", "ConfigMap", "default", "other")
    log.append([record(at, time=1.0, subject=other, owners=("u-web",)) for at in range(1, 5_001)], seen=1, now=50)
    log.append([record(6_000, time=90.0)], seen=1, now=90)
    assert len(revisions(path, other)) == 5_000
    for _ in range(10):
        log.append([record(7_000, time=150.0)], seen=1, now=150)
    assert revisions(path, other) == []
    assert revisions(path)[0] == 6_000
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM objects").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM owners").fetchone() == (0,)
    log.close()


def test_the_directory_may_have_any_name(tmp_path: Path) -> None:
    """Also one with characters that mean something in SQLite's URIs."""
    path = tmp_path / "a?b#c%41" / "timeline.db"
    path.parent.mkdir()
    log = opened(path)
    log.append([record(1)], seen=1, now=1)
    assert revisions(path) == [1]
    log.close()


def test_an_event_cannot_take_the_place_of_an_object(path: Path) -> None:
    """Its writer may name any uid, and any group: records of the object are found by the object's own names."""
    log = opened(path)
    foreign = WEB._replace(namespace="mallory", name="bait")
    group = WEB._replace(api_version="mallory.example.com/v1")
    log.append([Record(Type.EVENT, 1.0, at, subject) for at, subject in enumerate((foreign, group), start=1)], seen=2, now=1)
    log.append([record(3)], seen=3, now=1)
    assert revisions(path, foreign) == [1]
    assert revisions(path) == [2, 3]
    log.close()


def test_what_a_killed_process_has_not_finished_is_cut_off(path: Path) -> None:
    """A torn end of the WAL costs the last batch, and nothing before it."""
    log = opened(path)
    for at in range(1, 4):
        log.append([record(at)], seen=at, now=1)
    copy = path.parent / "copy" / path.name
    copy.parent.mkdir()
    wal = Path(f"{path}-wal").read_bytes()
    copy.write_bytes(path.read_bytes())
    Path(f"{copy}-wal").write_bytes(wal[:-100])
    log.close()
    survivor = Log(copy, Limits())
    assert survivor.open() == 2
    assert revisions(copy) == [1, 2]
    survivor.append([record(9)], seen=9, now=1)
    assert revisions(copy) == [1, 2, 9]
    survivor.close()


def test_a_file_that_is_none_is_set_aside(path: Path) -> None:
    """The timeline begins anew, and the damaged file is kept."""
    path.write_bytes(b"no database" * 1_000)
    log = Log(path, Limits())
    assert log.open() == 0
    log.append([record(1)], seen=1, now=1)
    assert revisions(path) == [1]
    assert Path(f"{path}.damaged").exists()
    log.close()


def test_one_process_writes_it(path: Path) -> None:
    log = opened(path)
    with pytest.raises(InUse, match="in use by another control plane"):
        opened(path)
    log.close()
    opened(path).close()


def test_a_fresh_one_forgets_the_former(path: Path) -> None:
    """Of a state in memory, whose revisions begin again."""
    log = opened(path)
    log.append([record(1)], seen=1, now=1)
    log.close()
    again = Log(path, Limits())
    assert again.open(fresh=True) == 0
    assert revisions(path) == []
    again.close()


def test_a_full_disk_fails_a_batch_as_a_whole(path: Path) -> None:
    """Then the next one may succeed: nothing half written is left."""
    log = opened(path, Limits(size=MIB, age=0))
    with pytest.raises(sqlite3.Error, match="full"):
        log.append([record(at, note="x" * 4_000) for at in range(1, 1_000)], seen=1, now=1)
    log.reset()
    log.append([record(2_000)], seen=2, now=1)
    assert revisions(path) == [2_000]
    log.close()


def test_what_an_object_owns_is_found_through_all_levels(path: Path) -> None:
    """Also in a cycle, and what it owned and no longer does."""
    log = opened(path)
    subjects = [Subject(f"u{at}", "v1", "ConfigMap", "default", f"n{at}") for at in range(4)]
    log.append([record(1, subject=subjects[0], owners=("u3",))], seen=1, now=1)
    log.append([record(at + 1, subject=subjects[at], owners=(f"u{at - 1}",)) for at in (1, 2, 3)], seen=1, now=1)
    with reading.opened(path) as reader:
        [root] = reader.lives(kinds.CONFIG_MAP, "default", "n0")
        found, truncated = reader.owned(root)
        assert [life.subject.name for life in found] == ["n0", "n1", "n2", "n3"]
        assert not truncated
    log.close()


def test_no_more_owned_objects_are_read_than_are_listed() -> None:
    """Users write the owners of objects, so that their number has no other bound."""
    read = 0

    class Crowded(Reader):
        def _below(self, owner: Life) -> Iterator[Life]:
            nonlocal read
            for number in range(2, reading.MAX_OBJECTS * 10):
                read += 1
                yield Life(number, WEB._replace(uid=f"u{number}"), None, None)

    with sqlite3.connect(":memory:") as db:
        found, truncated = Crowded(db).owned(Life(1, WEB, None, None))
    assert (len(found), truncated) == (reading.MAX_OBJECTS, True)
    assert read <= reading.MAX_OBJECTS + 1


def test_the_newest_records_are_taken(path: Path) -> None:
    """When there are more than asked for; also since a time, and of some types."""
    log = opened(path)
    log.append([record(at) for at in range(1, 2_001)], seen=1, now=1)
    log.append([records.gap(before=1, after=2, count=3, time=5.0, reason="r")], seen=1, now=1)
    assert revisions(path, most=3) == [1_998, 1_999, 2_000]
    assert revisions(path, wanted=Wanted(since=1_999.0)) == [1_999, 2_000]
    assert revisions(path, wanted=Wanted(types=(int(Type.EVENT),))) == []
    log.close()
