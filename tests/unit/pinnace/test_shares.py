"""Shares of clients: who gives way, and that a slot is counted once."""

from __future__ import annotations

from collections import Counter
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from pinnace.shares import Shares, Slot


def nothing() -> None:
    return None


def test_the_client_with_most_gives_way() -> None:
    """Its longest idle slot: idle before busy, and the oldest of them."""
    shares, ended = Shares(5, 4), list[str]()
    slots = {name: shares.take("a", lambda name=name: ended.append(name)) for name in ("a1", "a2", "a3", "a4")}
    shares.take("b", lambda: ended.append("b1"))
    shares.touch(slots["a1"], busy=True)
    shares.touch(slots["a2"], busy=False)
    for name, expected in (("c", "a3"), ("d", "a4"), ("e", "a2")):
        shares.take(name, nothing)
        assert ended.pop() == expected
    shares.take("f", lambda: ended.append("f1"))
    assert ended == ["b1"]


def test_a_client_beyond_its_share_gives_up_its_own() -> None:
    """And loses no slot of others."""
    shares, ended = Shares(10, 2), list[int]()
    for number in range(5):
        shares.take("a", lambda number=number: ended.append(number))
    assert ended == [0, 1, 2]
    assert not shares.has_room("a")
    assert shares.has_room("b")


@given(st.lists(st.tuples(st.sampled_from("tr"), st.sampled_from("abcd"), st.integers(0, 5)), max_size=60))
def test_bounds_hold_and_no_client_is_kept_out(actions: list[tuple[str, str, int]]) -> None:
    """Slots end once, by their owner or by another's need; a client with none always gets one."""
    shares, held, ended = Shares(6, 3), dict[Slot, str](), list[Slot]()

    def end(number: int) -> None:
        slot = made[number]
        ended.append(slot)
        del held[slot]

    made: list[Slot] = []
    for action, client, at in actions:
        if action == "t":
            before = Counter(held.values())
            slot = shares.take(client, partial(end, len(made)))
            made.append(slot)
            held[slot] = client
            lost = before - Counter(held.values())
            assert all(before[name] == max(before.values()) or name == client for name in lost)
        elif held:
            slot = list(held)[at % len(held)]
            shares.release(slot)
            shares.release(slot)
            del held[slot]
        counts = Counter(held.values())
        assert sum(counts.values()) <= 6
        assert all(count <= 3 for count in counts.values())
    assert len(ended) == len(set(ended))
