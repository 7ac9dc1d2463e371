"""The fan-out of batches: order, narrowing, and the end of slow readers."""

from __future__ import annotations

import pytest

from controlplane.store import feed
from controlplane.store.backend import Batch, Change, Compacted
from controlplane.store.feed import Feed, narrow

PODS = "/registry/pods/"


def batch(revision: int, *names: str) -> Batch:
    return Batch(revision, tuple(Change(PODS + name, b"v") for name in names or ("a",)))


async def revisions(batches: list[Batch], published: Feed, *, after: int = 0) -> list[int]:
    """What a reader that subscribed before sees up to the close."""
    queue = published.subscribe()
    published.publish(batches)
    published.close()
    return [told.revision async for told in published.follow(queue, PODS, after)]


async def test_a_reader_sees_what_comes_after_its_start_in_order() -> None:
    """`after` is exclusive."""
    assert await revisions([batch(1), batch(2), batch(3)], Feed(), after=1) == [2, 3]


async def test_a_full_reader_gets_what_was_kept_and_then_compacted() -> None:
    """Nothing from after the gap, even when it has room again."""
    slow, got = Feed(), []
    queue = slow.subscribe()
    for number in range(1, feed.MAX_BEHIND + 2):
        slow.publish([batch(number)])
    with pytest.raises(Compacted):
        async for told in slow.follow(queue, PODS, 0):
            got.append(told.revision)
            slow.publish([batch(feed.MAX_BEHIND + 1 + told.revision)])
    assert got == list(range(1, feed.MAX_BEHIND + 1))


async def test_a_slow_reader_costs_the_others_nothing() -> None:
    """Only it is cut off."""
    both = Feed()
    both.subscribe()
    both.publish([batch(number) for number in range(feed.MAX_BEHIND + 1)])
    assert await revisions([batch(feed.MAX_BEHIND + 2)], both) == [feed.MAX_BEHIND + 2]


async def test_closing_ends_even_a_full_reader() -> None:
    """It drains and stops."""
    full = Feed()
    assert len(await revisions([batch(number + 1) for number in range(feed.MAX_BEHIND)], full)) == feed.MAX_BEHIND - 1


def test_narrowing_leaves_out_what_is_elsewhere() -> None:
    """And says None when nothing is left."""
    mixed = Batch(3, (Change(PODS + "a", b"v"), Change("/registry/nodes/n", None)))
    assert narrow(mixed, "/registry/") is mixed
    assert narrow(mixed, PODS) == Batch(3, (Change(PODS + "a", b"v"),))
    assert narrow(mixed, "/registry/secrets/") is None
