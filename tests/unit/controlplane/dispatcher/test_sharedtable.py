"""The table that all sessions send alike."""

from __future__ import annotations

from controlplane.dispatcher.sharedtable import MAX_REMOVED, SharedTable
from pinnace.api.v1 import nodes_pb2


class Source:
    """Makes changes, and counts them."""

    def __init__(self) -> None:
        self.made = 0
        self.table = SharedTable()

    def set(self, key: str, identity: object = "x") -> bool:
        def change() -> nodes_pb2.Change:
            self.made += 1
            return nodes_pb2.Change(key=key)

        return self.table.set(key, identity, change)


def keys(data: bytes) -> list[str]:
    return [change.key for change in nodes_pb2.Assignment.FromString(data).changes]


def test_a_change_is_made_once_for_all_sessions() -> None:
    """And not at all for the same content."""
    source = Source()
    assert source.set("a")
    for _ in range(500):
        assert keys(source.table.portion(0, 1000).data) == ["a"]
    assert not source.set("a")
    assert source.made == 1


def test_portions_end_where_the_room_does() -> None:
    """Each has at least one entry; the oldest come first, and an entry that changes meanwhile comes last."""
    source = Source()
    for key in "abcd":
        source.set(key)
    size = len(source.table.portion(3, 1).data)
    first = source.table.portion(0, 2 * size)
    assert (keys(first.data), first.seen) == (["a", "b"], 2)
    source.set("c", "other")
    assert keys(source.table.portion(first.seen, 0).data) == ["d"]
    last = source.table.portion(3, size)
    assert (keys(source.table.portion(last.seen, size).data), last.seen) == (["c"], 4)
    assert source.table.portion(5, size).data == b""


def test_what_comes_later_is_announced() -> None:
    """Not what is removed."""
    source = Source()
    source.set("a")
    source.set("b")
    source.set("c")
    source.set("c", None)
    assert [*nodes_pb2.Assignment.FromString(source.table.announcement(1)).following] == ["b"]


def test_removals_are_forgotten_when_all_have_sent_them() -> None:
    """Not before, and not while they are few."""
    source = Source()
    for number in range(MAX_REMOVED + 2):
        source.set(str(number))
        source.set(str(number), None)
    source.table.prune(2)
    assert keys(source.table.since(0))[-1] == "1"
    source.table.prune(source.table.version)
    assert source.table.since(0) == b""
    source.set("few")
    source.set("few", None)
    source.table.prune(source.table.version)
    assert (keys(source.table.since(0)), source.table.present()) == (["few"], [])
