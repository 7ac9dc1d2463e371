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
    """All host ports of a pod."""
    return tuple(
        HostPort("" if port.hostIP in ANY else port.hostIP, port.protocol, port.hostPort, port.containerPort)
        for _, container in podspec.containers(pod)
        for port in container.ports
        if port.hostPort
    )


def conflict(wanted: Iterable[HostPort], taken: Iterable[HostPort]) -> bool:
    held = list(taken)
    return any(mine.conflicts(other) for mine in wanted for other in held)
