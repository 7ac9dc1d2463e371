"""Numbers with nouns."""

from __future__ import annotations

from cli.counts import count


def test_one_is_singular() -> None:
    """Every other number is plural, as in English."""
    assert [count(number, "node") for number in (0, 1, 2)] == ["0 nodes", "1 node", "2 nodes"]
