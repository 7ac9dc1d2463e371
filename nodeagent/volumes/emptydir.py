"""The size of an emptyDir in memory. Pure. Source: kubelet's calculateEmptyDirMemorySize."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pinnace import podresources, quantity


def memory_size(pod: Any, source: Any, facts: Mapping[str, str]) -> int:
    """Bytes: the least of its own limit, the pod's memory limit and the node's allocatable memory."""
    memory = podresources.MEMORY
    whole = podresources.limits(pod.spec)[memory] if podresources.limited(pod.spec, memory) else 0
    sizes = [quantity.units(facts["allocatable.memory"]), whole, quantity.units(source.sizeLimit.string or "0")]
    return min(size for size in sizes if size > 0)
