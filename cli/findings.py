"""What `kctl doctor` finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """`level` is ok, warn or fail; `fix` says what to do."""

    name: str
    level: str
    text: str
    fix: str = ""
