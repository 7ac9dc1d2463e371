"""What the agent sends about Services and EndpointSlices, as plain values, and their form in JSON. Pure.

A slice has its ready endpoints alone, each with its host name or an empty one; ports are shared by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Kinds of keys, KIND/NAMESPACE/NAME as in an assignment.
SERVICE, SLICE, NAMESPACE = "Service", "EndpointSlice", "Namespace"


@dataclass(frozen=True, slots=True)
class Port:
    """`protocol` in lower case; `name` is empty for a port without one."""

    name: str
    protocol: str
    number: int


@dataclass(frozen=True, slots=True)
class Service:
    """`external` is the name of an ExternalName Service; `headless` has no addresses of its own."""

    namespace: str
    name: str
    addresses: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    external: str = ""
    headless: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    address: str
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class Slice:
    """`service` is the name of the Service, in the same namespace."""

    namespace: str
    name: str
    service: str
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[Port, ...] = ()


def to_json(item: Service | Slice) -> dict[str, Any]:
    ports = [[port.name, port.protocol, port.number] for port in item.ports]
    if isinstance(item, Service):
        return {"addresses": item.addresses, "ports": ports, "external": item.external, "headless": item.headless}
    return {"service": item.service, "ports": ports, "endpoints": [[one.address, one.hostname] for one in item.endpoints]}


def from_json(kind: str, namespace: str, name: str, data: dict[str, Any]) -> Service | Slice:
    ports = tuple(Port(*port) for port in data["ports"])
    if kind == SERVICE:
        return Service(namespace, name, tuple(data["addresses"]), ports, data["external"], data["headless"])
    return Slice(namespace, name, data["service"], tuple(Endpoint(*one) for one in data["endpoints"]), ports)
