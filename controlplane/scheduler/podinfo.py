"""What placement needs of a pod, read once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pinnace import quantity

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
    """Containers together, or the largest init container when that is more (init containers run one at a time)."""
    together = [_of(container) for container in spec.containers]
    alone = [_of(container) for container in spec.initContainers]
    sums = [sum(column) for column in zip(*together, strict=True)] if together else [0, 0, 0]
    peak = [max(column) for column in zip(*alone, strict=True)] if alone else [0, 0, 0]
    cpu, memory, disk = (max(pair) for pair in zip(sums, peak, strict=True))
    return cpu, memory, disk


def _of(container: Any) -> tuple[int, int, int]:
    asked = container.resources.requests
    return (
        quantity.milli(asked["cpu"].string) if "cpu" in asked else 0,
        quantity.units(asked["memory"].string) if "memory" in asked else 0,
        quantity.units(asked["ephemeral-storage"].string) if "ephemeral-storage" in asked else 0,
    )
