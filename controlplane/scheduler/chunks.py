"""Splits work into parts that are bounded by number and by size, so that no part blocks the event loop or a backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def chunks(
    items: Iterable[T], *, size: Callable[[T], int], count: int, total: int, alone: Callable[[T], bool] = lambda _: False
) -> Iterator[list[T]]:
    """Items in order, in parts of at most `count` items and `total` of their sizes; a larger item, or one that is to be
    `alone`, is a part by itself."""
    part: list[T] = []
    filled = 0
    for item in items:
        length, single = size(item), alone(item)
        if part and (single or len(part) == count or filled + length > total):
            yield part
            part, filled = [], 0
        part.append(item)
        # Nothing fits next to one that is alone.
        filled += total + 1 if single else length
    if part:
        yield part
