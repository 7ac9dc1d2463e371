"""Ports of the node that pods ask for, and when two of them cannot both be had. Pure.

Source: the scheduler's NodePorts plugin: an empty or unspecified address stands for all of the node's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pinnace import podspec

ANY = ("", "0.0.0.0")  # noqa: S104 - compared with, not bound to


@dataclass(frozen=True, slots=True)
class HostPort:
    """`address` is empty for all addresses of the node; `protocol` is TCP, UDP or SCTP."""

    address: str
    protocol: str
    port: int
    container_port: int = 0

    def conflicts(self, other: HostPort) -> bool:
        same = (self.protocol, self.port) == (other.protocol, other.port)
        return same and ("" in (self.address, other.address) or self.address == other.address)


def of(pod: Any) -> tuple[HostPort, ...]:
    """The host ports of a pod: those of its containers and sidecars, each once, the main containers' first.

    Other init containers have none, as with kubelet: they end before the pod serves."""
    sidecars = (container for container in pod.spec.initContainers if podspec.is_sidecar(container))
    found: dict[tuple[str, str, int], HostPort] = {}
    for container in (*pod.spec.containers, *sidecars):
        for port in container.ports:
            address = "" if port.hostIP in ANY else port.hostIP
            if port.hostPort:
                item = HostPort(address, port.protocol, port.hostPort, port.containerPort)
                found.setdefault((address, port.protocol, port.hostPort), item)
    return tuple(found.values())


def conflict(wanted: Iterable[HostPort], taken: Iterable[HostPort]) -> bool:
    held = list(taken)
    return any(mine.conflicts(other) for mine in wanted for other in held)
