"""Signals by the names that manifests and images give them."""

from __future__ import annotations

import re
import signal

_REAL_TIME = re.compile(r"(?:SIG)?RTM(IN|AX)(?:([+-])(\d{1,2}))?\Z")


def number(name: str) -> int | None:
    """`SIGUSR1`, `USR1`, `10` or `SIGRTMIN+3`; None for what is no signal."""
    if name.isascii() and name.isdigit():
        return int(name) if 0 < int(name) < signal.NSIG else None
    match = _REAL_TIME.match(name)
    if match is not None:
        base = int(signal.SIGRTMIN if match[1] == "IN" else signal.SIGRTMAX)
        found = base + int(match[3] or 0) * (-1 if match[2] == "-" else 1)
        return found if signal.SIGRTMIN <= found <= signal.SIGRTMAX else None
    full = name if name.startswith("SIG") else f"SIG{name}"
    return int(signal.Signals[full]) if full in signal.Signals.__members__ else None
