"""Which taints a toleration matches: the one answer of the scheduler, taint eviction and the nodes. Pure.

Source: ToleratesTaint in k8s.io/api/core/v1, and KEP-5471 for Gt and Lt.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pinnace import formats

_COMPARISONS = ("Gt", "Lt")


def tolerates(toleration: Any, taint: Any) -> bool:
    """Whether a toleration matches a taint; empty fields of a toleration match every key and effect."""
    if toleration.effect not in ("", taint.effect) or toleration.key not in ("", taint.key):
        return False
    if toleration.operator == "Exists":
        return True
    if toleration.operator in _COMPARISONS:
        return _compares(toleration.operator, toleration.value, taint.value)
    return toleration.operator in ("", "Equal") and bool(toleration.value == taint.value)


def tolerated(tolerations: Iterable[Any], taint: Any) -> bool:
    """Whether any of the tolerations matches a taint."""
    return any(tolerates(item, taint) for item in tolerations)


def _compares(operator: str, limit: str, value: str) -> bool:
    """Whether a taint's value is above (Gt) or below (Lt) the toleration's; what is no number is neither."""
    if formats.decimal(limit) or formats.decimal(value):
        return False
    return int(value) > int(limit) if operator == "Gt" else int(value) < int(limit)
