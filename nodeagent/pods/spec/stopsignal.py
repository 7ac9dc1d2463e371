"""The signal that asks a container to end: the manifest's, else the image's, else SIGTERM. Pure."""

from __future__ import annotations

import signal
from typing import Any

from pinnace import signals


def of(container: Any, image_config: dict[str, Any]) -> int:
    """A name that no signal has counts as none given: an image must not keep a pod from stopping."""
    chosen = container.lifecycle.stopSignal or str(image_config.get("StopSignal") or "")
    return signals.number(chosen) or int(signal.SIGTERM)
