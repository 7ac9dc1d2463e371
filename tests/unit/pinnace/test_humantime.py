"""Ages as Kubernetes writes them."""

from __future__ import annotations

import pytest

from pinnace import humantime


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (200, "3m20s"), (900, "15m"), (4 * 3600 + 60, "4h1m"), (9 * 3600, "9h"), (50 * 3600, "2d2h"),
     (9 * 86400, "9d"), (800 * 86400, "2y70d"), (730 * 86400, "2y"), (9 * 365 * 86400 + 86400, "9y"), (-1.9, "0s"), (-5, "<invalid>")],
)  # fmt: skip
def test_ages_have_two_units_while_they_matter(seconds: float, text: str) -> None:
    """A span that ends before it begins is none, but for the second by which clocks may differ."""
    assert humantime.duration(seconds) == text


def test_no_time_is_unknown() -> None:
    """Zero is what an absent field holds."""
    assert (humantime.since(0, 100), humantime.since(40, 100)) == ("<unknown>", "60s")
