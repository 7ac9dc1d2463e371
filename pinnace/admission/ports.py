"""Ports of a pod's containers: names, and the ports of the node that they claim.

Source: core/v1's validateContainerPorts, checkHostPortConflicts and validatePodHostNetworkDeps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, formats, podspec
from pinnace.admission.podparts import ContainerParts, PodParts
from pinnace.errors import Cause


def default(spec: Any) -> None:
    """In the node's network a port is the node's."""
    if spec.hostNetwork:
        for _, container in podspec.containers_of(spec):
            for port in container.ports:
                port.hostPort = port.hostPort or port.containerPort


def validate(parts: PodParts) -> list[Cause]:
    having = [*parts.having("ports")]
    if not having:
        return []
    errors: list[Cause] = []
    taken: set[str] = set()
    for item in parts.of("containers"):
        errors += _host_ports(item, taken)
    for item in parts.of("initContainers"):
        # One at a time, since init containers run one after the other.
        errors += _host_ports(item, set())
    if parts.spec.hostNetwork:
        errors += _network_of_the_node(parts.spec)
    for path, container, _ in having:
        errors += _names(path, container)
    return errors


def _names(path: str, container: Any) -> Iterator[Cause]:
    seen = set()
    for index, port in enumerate(container.ports):
        if port.name in seen:
            yield fielderrors.duplicate(f"{path}.ports[{index}].name", port.name)
        if port.name and not formats.port_name(port.name):
            seen.add(port.name)


def _host_ports(item: ContainerParts, taken: set[str]) -> Iterator[Cause]:
    """Ports of the node that are `taken`, to which the container's are added."""
    for index, port in enumerate(item.fields.get("ports", ())):
        here = f"{item.path}.ports[{index}].hostPort"
        if not port.hostPort:
            continue
        key = f"{port.protocol}/{port.hostIP}/{port.hostPort}"
        if key in taken:
            yield fielderrors.duplicate(here, key)
        taken.add(key)


def _network_of_the_node(spec: Any) -> Iterator[Cause]:
    for number, container in enumerate(spec.containers):
        for index, port in enumerate(container.ports):
            if port.hostPort != port.containerPort:
                here = f"spec.containers[{number}].ports[{index}].hostPort"
                yield fielderrors.invalid(here, port.hostPort, "must match `containerPort` when `hostNetwork` is true")
