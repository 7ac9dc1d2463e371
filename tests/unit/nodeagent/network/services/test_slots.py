"""Endpoints keep their slots."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from nodeagent.network.services.model import Target
from nodeagent.network.services.slots import Slots, assign, reused


def of(text: str) -> Slots:
    """A letter for each endpoint, a dot for a free slot."""
    return tuple(None if letter == "." else Target(letter, 80) for letter in text)


def targets(text: str) -> list[Target]:
    return [Target(letter, 80) for letter in text]


def test_an_endpoint_that_leaves_moves_one_other() -> None:
    assert assign(of("abcd"), targets("acd"), sticky=False) == of("adc")
    assert assign(of("abc"), targets("ab"), sticky=False) == of("ab")


def test_a_new_endpoint_takes_the_place_of_one_that_leaves() -> None:
    assert assign(of("abc"), targets("acx"), sticky=False) == of("axc")
    assert assign(of("abc"), targets("acx"), sticky=True) == of("axc")
    assert assign((), targets("ab"), sticky=False) == of("ab")


def test_with_affinity_nothing_moves() -> None:
    assert assign(of("abcd"), targets("acd"), sticky=True) == of("a.cd")
    assert assign(of("a.cd"), targets("acdx"), sticky=True) == of("axcd")
    assert assign(of("abcd"), targets("ab"), sticky=True) == of("ab")
    assert assign(of("a.cd"), targets("acd"), sticky=False) == of("adc")


def test_slots_of_another_endpoint_are_reused_ones() -> None:
    """A slot that was free may be remembered too; a new last one was none's."""
    assert reused(of("abc"), of("axc")) == {1}
    assert reused(of("a.c"), of("axc")) == {1}
    assert reused(of("ab"), of("abx")) == set()
    assert reused(of("abc"), of("a.c")) == set()


@given(st.lists(st.sets(st.sampled_from(string.ascii_lowercase), max_size=12), max_size=12), st.booleans())
def test_any_sequence_of_endpoints(steps: list[set[str]], sticky: bool) -> None:
    """Each endpoint has one slot; without affinity there is no free one; with it none moves."""
    slots: Slots = ()
    for step in steps:
        before, slots = slots, assign(slots, targets("".join(sorted(step))), sticky=sticky)
        used = [item for item in slots if item is not None]
        assert sorted(used) == sorted(targets("".join(step)))
        assert len(used) == len(slots) or sticky
        if sticky:
            assert all(slots[n] == item for n, item in enumerate(before) if item is not None and item in used)
            assert not slots or slots[-1] is not None
