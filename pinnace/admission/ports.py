"""Ports of a pod's containers: names, and the ports of the node that they claim.

Source: the behaviour of Kubernetes' pod validation and defaults.
"""

from __future__ import annotations

from typing import Any

from pinnace import podspec
from pinnace.errors import Cause


def default(pod: Any) -> None:
    """In the node's network a port is the node's."""
    if pod.spec.hostNetwork:
        for _, container in podspec.containers(pod):
            for port in container.ports:
                port.hostPort = port.hostPort or port.containerPort


def validate(pod: Any) -> list[Cause]:
    faults = _host_ports(pod)
    for path, container in podspec.containers(pod):
        names = [port.name for port in container.ports]
        for index, name in enumerate(names):
            if name and name in names[:index]:
                faults.append(Cause(f"{path}.ports[{index}].name", f'Duplicate value: "{name}"', "FieldValueDuplicate"))
    return faults


def _host_ports(pod: Any) -> list[Cause]:
    faults, taken = [], set()
    for path, container in podspec.containers(pod):
        for index, port in enumerate(container.ports):
            here = f"{path}.ports[{index}].hostPort"
            if not port.hostPort:
                continue
            key = (port.protocol, port.hostIP, port.hostPort)
            if key in taken:
                faults.append(Cause(here, f'Duplicate value: "{port.hostPort}/{port.protocol}"', "FieldValueDuplicate"))
            taken.add(key)
            if pod.spec.hostNetwork and port.hostPort != port.containerPort:
                faults.append(Cause(here, f"Invalid value: {port.hostPort}: must match `containerPort` with hostNetwork"))
            if port.protocol == "SCTP" and not pod.spec.hostNetwork:
                faults.append(Cause(here, "Pinnace does not support host ports of SCTP", "FieldValueNotSupported"))
    return faults
