"""What placement needs of a pod, read once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pinnace import hostports, podresources
from pinnace.hostports import HostPort

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
    host_ports: tuple[HostPort, ...] = ()


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
        host_ports=hostports.of(pod),
    )


def requests(spec: Any) -> tuple[int, int, int]:
    """The pod's requests at their peak, in the order of RESOURCES."""
    found = podresources.requests(spec)
    return found.get("cpu", 0), found.get("memory", 0), found.get("ephemeral-storage", 0)
