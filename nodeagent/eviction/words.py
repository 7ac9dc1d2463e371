"""What an eviction says of itself: kubelet's messages, which people and programs look for. Pure.

They end with a blank, as kubelet's do, because parts are strung together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nodeagent.eviction.decide import Observations
from nodeagent.eviction.thresholds import Threshold
from nodeagent.eviction.usage import PodUse
from pinnace import podresources, quantity
from pinnace.podresources import MEMORY, STORAGE

# By condition and whether the node has it: the condition's reason, its message, the event about the node.
_CONDITIONS = {
    "MemoryPressure": {
        False: ("KubeletHasSufficientMemory", "kubelet has sufficient memory available", "NodeHasSufficientMemory"),
        True: ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available", "NodeHasInsufficientMemory"),
    },
    "DiskPressure": {
        False: ("KubeletHasNoDiskPressure", "kubelet has no disk pressure", "NodeHasNoDiskPressure"),
        True: ("KubeletHasDiskPressure", "kubelet has disk pressure", "NodeHasDiskPressure"),
    },
    "PIDPressure": {
        False: ("KubeletHasSufficientPID", "kubelet has sufficient PID available", "NodeHasSufficientPID"),
        True: ("KubeletHasInsufficientPID", "kubelet has insufficient PID available", "NodeHasInsufficientPID"),
    },
}


def condition(type_: str, *, holds: bool) -> tuple[str, str]:
    """A condition's reason and message."""
    return _CONDITIONS[type_][holds][:2]


def condition_event(type_: str, *, holds: bool) -> str:
    return _CONDITIONS[type_][holds][2]


def low_on(threshold: Threshold, seen: Observations, pod: Any, use: PodUse) -> str:
    """Why this pod is evicted: the resource, how much was left, and which containers use more than they asked for."""
    found = seen[threshold.signal]
    amount = threshold.amount(found.capacity)
    text = f"The node was low on resource: {threshold.resource}. "
    text += f"Threshold quantity: {_shown(threshold, amount)}, available: {_shown(threshold, found.available)}. "
    return text + "".join(_greedy(threshold.resource, pod, use))


def _shown(threshold: Threshold, value: int) -> str:
    return quantity.format_bytes(value) if threshold.resource in (MEMORY, STORAGE) else str(value)


def _greedy(resource: str, pod: Any, use: PodUse) -> Iterable[str]:
    layers = {name: disk.used for name, disk in use.layers.items()}
    used = {MEMORY: use.containers, STORAGE: layers}.get(resource, {})
    for container in (*pod.spec.containers, *pod.spec.initContainers):
        asked = container.resources.requests
        text = asked[resource].string if resource in asked else "0"
        if used.get(container.name, 0) > podresources.amount(resource, text):
            spent = quantity.format_bytes(used[container.name])
            yield f"Container {container.name} was using {spent}, request is {text}, has larger consumption of {resource}. "


def empty_dir(volume: str, limit: str) -> str:
    return f'Usage of EmptyDir volume "{volume}" exceeds the limit "{limit}". '


def pod_storage(limit: str) -> str:
    return f"Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "


def container_storage(name: str, limit: str) -> str:
    return f'Container {name} exceeded its local ephemeral storage limit "{limit}". '


def under_pressure(conditions: Iterable[str]) -> str:
    """Why a pod is not let in."""
    return f"The node had condition: [{' '.join(sorted(conditions))}]. "
