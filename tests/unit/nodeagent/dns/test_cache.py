"""The cache of answers: its bounds, and what stays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nodeagent.dns.cache import CHANCES, Cache


def test_random_names_of_one_client_do_not_drive_out_what_others_use() -> None:
    """Ten names that are asked for now and then stay, among a thousand times as many that are not asked for again."""
    cache = Cache[str, int](100, 1 << 20)
    for number in range(10):
        cache.put(f"used-{number}", number, 10)
    for number in range(10_000):
        cache.put(f"random-{number}", number, 10)
        assert cache.get(f"used-{number % 10}") is not None
    assert len(cache) == 100


def test_an_entry_that_is_used_no_more_is_dropped() -> None:
    """It had a second chance."""
    cache = Cache[str, int](3, 1 << 20)
    cache.put("old", 1, 1)
    assert cache.get("old") == 1
    for number in range(10):
        cache.put(f"new-{number}", number, 1)
    assert cache.get("old") is None


def test_an_insertion_has_a_bound() -> None:
    """Where every entry was used, the oldest that were looked at get their chance, and the next is dropped."""
    cache = Cache[int, int](CHANCES * 4, 1 << 20)
    for number in range(CHANCES * 4):
        cache.put(number, number, 1)
        cache.get(number)
    cache.put(-1, -1, 1)
    assert [number for number in range(CHANCES * 4) if cache.get(number) is None] == [CHANCES]


@given(st.lists(st.tuples(st.sampled_from("pgd"), st.integers(0, 12), st.integers(1, 40)), max_size=80))
def test_bounds_hold_whatever_happens(actions: list[tuple[str, int, int]]) -> None:
    """Entries and sizes, and the value last put is the one that is found."""
    cache, model = Cache[int, int](5, 100), dict[int, int]()
    for action, key, size in actions:
        if action == "p":
            cache.put(key, size, size)
            model[key] = size
        elif action == "d":
            cache.drop(key)
            model.pop(key, None)
        assert cache.get(key) in (None, model.get(key))
        found = {key: cache.get(key) for key in range(13)}
        sizes = [size for size in found.values() if size is not None]
        assert len(cache) == len(sizes) <= 5
        assert sum(sizes) <= 100
