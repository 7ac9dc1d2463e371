"""A cache with bounds, in which entries that are used stay longest: names that are asked for once do not drive out the others.

A client that asks for random names fills it with entries of which none is used. Where there is no room, entries are looked at
in the order in which they came: one that was used since the last look stays, as one that came just now, and another is dropped
("second chance"). To use an entry costs a look into a dictionary and a set.
"""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")
# Entries that stay at most for one that is dropped, so that an insertion has a bound.
CHANCES = 16


class Cache(Generic[K, V]):
    def __init__(self, most: int, total: int) -> None:
        """`most` entries, and `total` of their sizes."""
        self._most, self._total = most, total
        self._entries: dict[K, tuple[V, int]] = {}
        self._used: set[K] = set()
        self._size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        found = self._entries.get(key)
        if found is None:
            return None
        self._used.add(key)
        return found[0]

    def put(self, key: K, value: V, size: int) -> None:
        """In place of an earlier entry of the key, which counts as used if that was."""
        self._remove(key)
        while self._entries and (len(self._entries) >= self._most or self._size + size > self._total):
            self._make_room()
        self._entries[key] = value, size
        self._size += size

    def drop(self, key: K) -> None:
        self._remove(key)
        self._used.discard(key)

    def clear(self) -> None:
        self._entries.clear()
        self._used.clear()
        self._size = 0

    def _make_room(self) -> None:
        for _ in range(CHANCES):
            key = next(iter(self._entries))
            if key not in self._used:
                break
            self._used.discard(key)
            self._entries[key] = self._entries.pop(key)
        self.drop(next(iter(self._entries)))

    def _remove(self, key: K) -> None:
        found = self._entries.pop(key, None)
        self._size -= found[1] if found is not None else 0
