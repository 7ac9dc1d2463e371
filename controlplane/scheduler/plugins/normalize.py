"""Scores from counts, for the plugins that prefer fewer."""

from __future__ import annotations

from controlplane.scheduler.rowcounts import Counts
from controlplane.scheduler.table import Floats


def shares(counts: Counts, most: int) -> Floats | None:
    """100 where there is none, 0 where there are `most`; None when `most` is zero: all rows are equal."""
    if not most:
        return None
    scores: Floats = 100.0 - counts.astype("float64") * (100.0 / most)
    return scores
