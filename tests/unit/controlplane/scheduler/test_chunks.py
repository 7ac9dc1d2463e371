"""Parts of bounded number and size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.scheduler.chunks import chunks


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans())))
def test_parts_are_bounded_and_keep_the_order(items: list[tuple[int, bool]]) -> None:
    """An item that is too large, or is to be alone, is a part by itself."""
    parts = list(chunks(items, size=lambda item: item[0], count=3, total=10, alone=lambda item: item[1]))
    assert [item for part in parts for item in part] == items
    for part in parts:
        assert len(part) == 1 or (len(part) <= 3 and sum(size for size, _ in part) <= 10)
        assert len(part) == 1 or not any(alone for _, alone in part)
