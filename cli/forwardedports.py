"""Ports of `kctl port-forward`: numbers and names to ports of the pod. Pure.

Source: kubectl's pkg/cmd/portforward (translateServicePortToTargetPort, convertPodNamedPortToNumber, checkUDPPort*) and
pkg/util (service_port.go, pod_port.go).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from pinnace import services
from pinnace.errors import BadRequest

_WRONG = '"{}" is not a port pair such as 8080:80, 80 or :80'


class Pair(NamedTuple):
    """A local port, 0 for any that is free, and the pod's."""

    local: int
    remote: int


def pairs(words: Iterable[str], pod: Any, service: Any | None = None) -> list[Pair]:
    """Of `8080:80`, `80`, `:80`, `https` or `8443:https`: ports of the pod, or of a Service that selects it.

    Raises BadRequest."""
    return [_pair(word, pod, service) for word in words]


def check(words: Iterable[str]) -> None:
    """What is wrong whatever ports there are. Raises BadRequest."""
    for word in words:
        local, _, remote = word.rpartition(":")
        if not remote or (local and _number(local) < 0) or (remote.isdecimal() and _number(remote) < 1):
            raise BadRequest(_WRONG.format(word))


def _pair(word: str, pod: Any, service: Any | None) -> Pair:
    local, colon, remote = word.rpartition(":")
    named = bool(remote) and not remote.isdecimal()
    if service is not None:
        number = _of_service_name(service, remote) if named else _number(remote)
        target = _target(service, pod, number, word)
    else:
        number = target = _of_pod_name(pod, remote) if named else _number(remote)
        _check_protocol(_container_ports(pod), number, word)
    return Pair((_number(local) if local else 0) if colon else number, target)


def _number(text: str) -> int:
    """-1 for what is no port."""
    return int(text) if text.isdecimal() and len(text) <= 5 and int(text) < 1 << 16 else -1


def _of_service_name(service: Any, name: str) -> int:
    found = next((port.port for port in service.spec.ports if port.name == name), 0)
    if not found:
        raise BadRequest(f"Service '{service.metadata.name}' does not have a named port '{name[:80]}'")
    return int(found)


def _of_pod_name(pod: Any, name: str) -> int:
    found = next((port.containerPort for port in _container_ports(pod) if port.name == name), 0)
    if not found:
        raise BadRequest(f"Pod '{pod.metadata.name}' does not have a named port '{name[:80]}'")
    return int(found)


def _target(service: Any, pod: Any, number: int, word: str) -> int:
    """The pod's port behind a port of the Service."""
    found = [port for port in service.spec.ports if port.port == number]
    if not found:
        raise BadRequest(f"Service {service.metadata.name} does not have a service port {number}")
    _check_protocol(found, number, word)
    target = found[0].targetPort
    if services.is_headless(service):
        return number
    return _of_pod_name(pod, target.strVal) if target.type else target.intVal or number


def _container_ports(pod: Any) -> list[Any]:
    return [port for container in pod.spec.containers for port in container.ports]


def _check_protocol(ports: Iterable[Any], number: int, word: str) -> None:
    """Raises BadRequest for a port that is of UDP alone."""
    found = {port.protocol for port in ports if number in (getattr(port, "port", 0), getattr(port, "containerPort", 0))}
    if "UDP" in found and "TCP" not in found:
        raise BadRequest(f"UDP protocol is not supported for {word.rpartition(':')[2]}")
