"""What subscribers of the assignment get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pinnace.api.v1 import nodes_pb2


@dataclass(frozen=True, slots=True)
class Change:
    """One object of the assignment that was added, changed or removed, by KIND/NAMESPACE/NAME; `tokens` come with a pod."""

    key: str
    old: Any | None
    new: Any | None
    tokens: tuple[nodes_pb2.PodToken, ...] = ()
