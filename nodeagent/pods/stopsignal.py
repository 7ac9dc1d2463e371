"""The signal that asks a container to end: the manifest's, else the image's, else SIGTERM. Pure."""

from __future__ import annotations

import re
import signal
from typing import Any

_REAL_TIME = re.compile(r"(?:SIG)?RTM(IN|AX)(?:([+-])(\d{1,2}))?\Z")


def of(container: Any, image_config: dict[str, Any]) -> int:
    """A name that no signal has counts as none given: an image must not keep a pod from stopping."""
    chosen = container.lifecycle.stopSignal or str(image_config.get("StopSignal") or "")
    return number(chosen) or signal.SIGTERM


def number(name: str) -> int | None:
    """`SIGUSR1`, `USR1`, `10` or `SIGRTMIN+3`; None for what is no signal."""
    if name.isdigit():
        return int(name) if 0 < int(name) < signal.NSIG else None
    match = _REAL_TIME.match(name)
    if match is not None:
        base = signal.SIGRTMIN if match[1] == "IN" else signal.SIGRTMAX
        return int(base) + (int(match[3]) * (1 if match[2] == "+" else -1) if match[3] else 0)
    full = name if name.startswith("SIG") else f"SIG{name}"
    return int(signal.Signals[full]) if full in signal.Signals.__members__ else None
