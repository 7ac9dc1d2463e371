"""The fan-out of batches: order, narrowing, and the end of slow readers."""

from __future__ import annotations

import pytest

from controlplane.store import broadcaster
from controlplane.store.backend import Batch, Change, Compacted
from controlplane.store.broadcaster import Broadcaster, narrow, resumed

PODS = "/registry/pods/"


def batch(revision: int, *names: str) -> Batch:
    return Batch(revision, tuple(Change(PODS + name, b"v", revision) for name in names or ("a",)))


async def revisions(batches: list[Batch], published: Broadcaster, *, after: int = 0) -> list[int]:
    """What a reader that subscribed before sees up to the close."""
    queue = published.subscribe()
    published.publish(batches)
    published.close()
    return [told.revision async for told in published.follow(queue, PODS, after)]


async def test_a_reader_sees_what_comes_after_its_start_in_order() -> None:
    """`after` is exclusive."""
    assert await revisions([batch(1), batch(2), batch(3)], Broadcaster(), after=1) == [2, 3]


async def test_a_full_reader_gets_what_was_kept_and_then_compacted() -> None:
    """Nothing from after the gap, even when it has room again."""
    slow, got = Broadcaster(), []
    queue = slow.subscribe()
    for number in range(1, broadcaster.MAX_BEHIND + 2):
        slow.publish([batch(number)])
    with pytest.raises(Compacted):
        async for told in slow.follow(queue, PODS, 0):
            got.append(told.revision)
            slow.publish([batch(broadcaster.MAX_BEHIND + 1 + told.revision)])
    assert got == list(range(1, broadcaster.MAX_BEHIND + 1))


async def test_a_slow_reader_costs_the_others_nothing() -> None:
    """Only it is cut off."""
    both = Broadcaster()
    both.subscribe()
    both.publish([batch(number) for number in range(broadcaster.MAX_BEHIND + 1)])
    assert await revisions([batch(broadcaster.MAX_BEHIND + 2)], both) == [broadcaster.MAX_BEHIND + 2]


async def test_closing_ends_even_a_full_reader() -> None:
    """It drains and stops."""
    full = Broadcaster()
    assert (
        len(await revisions([batch(number + 1) for number in range(broadcaster.MAX_BEHIND)], full))
        == broadcaster.MAX_BEHIND - 1
    )


def test_narrowing_leaves_out_what_is_elsewhere() -> None:
    """And says None when nothing is left."""
    mixed = Batch(3, (Change(PODS + "a", b"v", 2), Change("/registry/nodes/n", None, 3)))
    assert narrow(mixed, "/registry/") is mixed
    assert narrow(mixed, PODS) == Batch(3, (Change(PODS + "a", b"v", 2),))
    assert narrow(mixed, "/registry/secrets/") is None


def test_resuming_leaves_out_what_was_told() -> None:
    """Of a transaction in the middle of which the watcher stands."""
    whole = Batch(4, tuple(Change(PODS + name, b"v", revision) for revision, name in ((2, "a"), (3, "b"), (4, "c"))))
    assert resumed(whole, 1) is whole
    assert [change.revision for change in resumed(whole, 2).changes] == [3, 4]
