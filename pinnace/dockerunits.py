"""Sizes as Docker's flags write them: `512m`, `1g`, `1.5GiB`; every unit is a power of 1024. Source: docker/go-units."""

from __future__ import annotations

import re
from decimal import Decimal

_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?) ?(?:([kmgtp])i?)?b?", re.IGNORECASE | re.ASCII)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
MAX_BYTES = (1 << 63) - 1


def ram_bytes(text: str) -> int:
    """Bytes. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text[:40]}" is not a size such as 512m or 2g')
    value = int(Decimal(match[1]) * 1024 ** _POWERS[(match[2] or "").lower()])
    if value > MAX_BYTES:
        raise ValueError(f'"{text[:40]}" is more than {MAX_BYTES} bytes')
    return value
