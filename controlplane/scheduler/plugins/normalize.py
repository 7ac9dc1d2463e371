"""Scores from counts and sums: those of the nodes that fit are spread from 0 to 100 (Kubernetes' DefaultNormalizeScore)."""

from __future__ import annotations

import math

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


def least_to_most(sums: Floats, fits: Mask) -> Floats | None:
    """0 for the smallest sum, 100 for the greatest; None when all are equal."""
    least, most = float(sums.min(where=fits, initial=math.inf)), float(sums.max(where=fits, initial=-math.inf))
    if not most > least:
        return None
    scores: Floats = (sums - least) * (100.0 / (most - least))
    return scores


def fewest_of_most(sums: Floats, judged: Mask) -> Floats:
    """100 for the smallest sum, less in proportion to the greatest, 0 outside `judged`."""
    least, most = float(sums.min(where=judged, initial=math.inf)), float(sums.max(where=judged, initial=0.0))
    scores: Floats = np.where(judged, (most + least - sums) * (100.0 / most) if most else 100.0, 0.0)
    return scores
