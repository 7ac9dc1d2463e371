"""Go's durations, as HEALTHCHECK writes them: `30s`, `1m30s`, `1.5h`, `300ms`. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

_PART = re.compile(r"(\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_NANOSECONDS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
MAX = (1 << 63) - 1


def nanoseconds(text: str) -> int:
    """Raises ValueError."""
    if text in ("0", "+0", "-0"):
        return 0
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    parts = _PART.findall(digits) if len(digits) <= 80 else []
    if not parts or "".join(number + unit for number, unit in parts) != digits:
        raise ValueError(f'"{text[:40]}" is not a duration such as 30s or 1m30s')
    total = sum(int(Decimal(number) * _NANOSECONDS[unit]) for number, unit in parts)
    if total > MAX:
        raise ValueError(f'"{text[:40]}" is longer than {MAX} ns')
    return sign * total
