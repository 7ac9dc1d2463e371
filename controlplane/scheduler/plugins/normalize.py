"""Scores from counts and sums: those of the nodes that fit are spread from 0 to 100 (Kubernetes' DefaultNormalizeScore)."""

from __future__ import annotations

from controlplane.scheduler import arrays as np
from controlplane.scheduler.arrays import Counts, Floats, Mask


def fewest_is_best(counts: Counts, fits: Mask) -> Floats | None:
    """100 where there is none, 0 where there are most; None when there is none on any node that fits: all are equal."""
    most = int(counts.max(where=fits, initial=0))
    if not most:
        return None
    scores: Floats = 100.0 - counts.astype(np.float64) * (100.0 / most)
    return scores


def most_is_best(sums: Floats, fits: Mask) -> Floats | None:
    """100 for the greatest sum; None when all are zero."""
    most = float(sums.max(where=fits, initial=0.0))
    if not most:
        return None
    scores: Floats = sums * (100.0 / most)
    return scores
