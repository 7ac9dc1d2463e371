"""Reviews as resources: they are created, answered and not stored."""

from __future__ import annotations

from controlplane.resources.resource import Resource
from pinnace import kinds

REVIEWS: tuple[Resource, ...] = tuple(
    Resource(kind, verbs=("create",), status=False) for kind in kinds.REVIEWS if "/" not in kind.plural
)
