"""What placement needs of a pod, read once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pinnace import quantity
from pinnace.podspec import is_sidecar

# Columns of every resource array, in this order. Units: millicores, bytes, bytes, pods.
RESOURCES = ("cpu", "memory", "ephemeral-storage", "pods")


@dataclass(frozen=True, slots=True)
class PodInfo:
    """`requests` follows RESOURCES. `group` names the pods that should be spread from each other."""

    key: str
    uid: str
    requests: tuple[int, ...]
    priority: int
    created: int
    group: str
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[Any, ...] = ()
    node: str = ""


def read(pod: Any) -> PodInfo:
    meta, spec = pod.metadata, pod.spec
    owners = [ref.uid for ref in meta.ownerReferences if ref.controller]
    labels = ",".join(f"{key}={value}" for key, value in sorted(meta.labels.items()))
    return PodInfo(
        key=f"{meta.namespace}/{meta.name}",
        uid=meta.uid,
        requests=(*requests(spec), 1),
        priority=spec.priority,
        created=meta.creationTimestamp.seconds,
        group=f"{meta.namespace}/{owners[0] if owners else labels}",
        node_selector=dict(spec.nodeSelector),
        tolerations=tuple(spec.tolerations),
        node=spec.nodeName,
    )


def requests(spec: Any) -> tuple[int, int, int]:
    """What the pod needs at its fullest: its containers beside its sidecars, or an init container beside the sidecars
    that started before it. Source: KEP-753."""
    total = _sum(_of(container) for container in spec.containers)
    sidecars, peak = (0, 0, 0), (0, 0, 0)
    for container in spec.initContainers:
        if is_sidecar(container):
            sidecars = _sum((sidecars, _of(container)))
            peak = _most(peak, sidecars)
        else:
            peak = _most(peak, _sum((sidecars, _of(container))))
    return _most(_sum((total, sidecars)), peak)


def _sum(items: Iterable[tuple[int, int, int]]) -> tuple[int, int, int]:
    cpu = memory = disk = 0
    for item in items:
        cpu, memory, disk = cpu + item[0], memory + item[1], disk + item[2]
    return cpu, memory, disk


def _most(one: tuple[int, int, int], other: tuple[int, int, int]) -> tuple[int, int, int]:
    return max(one[0], other[0]), max(one[1], other[1]), max(one[2], other[2])


def _of(container: Any) -> tuple[int, int, int]:
    asked = container.resources.requests
    return (
        quantity.milli(asked["cpu"].string) if "cpu" in asked else 0,
        quantity.units(asked["memory"].string) if "memory" in asked else 0,
        quantity.units(asked["ephemeral-storage"].string) if "ephemeral-storage" in asked else 0,
    )
