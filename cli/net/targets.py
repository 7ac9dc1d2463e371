"""The receiver of `kctl net trace`: an address, a pod or a Service, and a port by number or name."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pinnace import kinds
from pinnace.errors import BadRequest, NotFound


@dataclass(frozen=True, slots=True)
class Target:
    """`shown` is the object's name, empty for an address; `port` 0: an echo request."""

    address: str
    port: int
    protocol: str
    shown: str


def target_of(client: Any, namespace: str, text: str, protocol: str, sources: Sequence[str] = ()) -> Target:
    """Of a command's word; an empty `protocol` is the port's. Of several addresses of an object, the first of a family that
    the sender has, too: `sources` are its addresses. Raises NotFound and BadRequest."""
    name, port = _parts(text)
    try:
        address = str(ipaddress.ip_address(name))
    except ValueError:
        return _named(client, namespace, name, port, protocol, sources)
    return Target(address, _number(port) if port else 0, protocol or ("tcp" if port else "icmp"), "")


def address_and_port(text: str, port: int) -> tuple[str, int]:
    """Of ADDRESS, ADDRESS:PORT and [ADDRESS]:PORT, without a port `port`. Raises BadRequest."""
    address, found = _parts(text)
    return address, _number(found) if found else port


def _parts(text: str) -> tuple[str, str]:
    """The port, a number or a name, is empty where there is none: NAME, ADDRESS, [ADDRESS]."""
    name, colon, port = text.rpartition(":")
    if text.startswith("[") and text.endswith("]"):
        return text[1:-1], ""
    if not colon or (name.count(":") and not name.startswith("[")):
        return text, ""
    return name.strip("[]"), port or ":"


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 1 << 16):
        raise BadRequest(f"{text[:80]!r} is not a port")
    return int(text)


def _is_name(port: str) -> bool:
    """Names of ports have a letter (RFC 6335)."""
    return any(c.isascii() and c.isalpha() for c in port)


def _named(client: Any, namespace: str, name: str, port: str, protocol: str, sources: Sequence[str]) -> Target:
    """A pod, or else a Service. Raises NotFound and BadRequest."""
    word, slash, rest = name.rpartition("/")
    kind = kinds.by_word(word) if slash else None
    if slash and kind not in (kinds.POD, kinds.SERVICE):
        raise BadRequest(f"{name}: neither a pod nor a service")
    if kind is not kinds.SERVICE:
        try:
            pod = client.get(kinds.POD, namespace, rest)
        except NotFound:
            if slash:
                raise
        else:
            return _pod(pod, port, protocol, sources)
    return _service(client.get(kinds.SERVICE, namespace, rest), port, protocol, sources)


def _pod(pod: Any, port: str, protocol: str, sources: Sequence[str]) -> Target:
    name = pod.metadata.name
    if not pod.status.podIP:
        raise BadRequest(f"pod {name} has no address yet")
    address = _reachable([pod.status.podIP, *(item.ip for item in pod.status.podIPs)], sources)
    if not _is_name(port):
        number = _number(port) if port else 0
        return Target(address, number, protocol or ("tcp" if port else "icmp"), f"pod {name}")
    sidecars = (container for container in pod.spec.initContainers if container.restartPolicy == "Always")
    ports = (item for container in (*pod.spec.containers, *sidecars) for item in container.ports if item.name == port)
    found = _first(ports, protocol, f"pod {name}", port)
    return Target(address, found.containerPort, protocol or _protocol(found), f"pod {name}")


def _service(service: Any, port: str, protocol: str, sources: Sequence[str]) -> Target:
    """Its first port, or that of this number or name and protocol. Raises BadRequest."""
    name = service.metadata.name
    if service.spec.clusterIP in ("", "None"):
        raise BadRequest(f"service {name} has no cluster IP")
    address = _reachable([service.spec.clusterIP, *service.spec.clusterIPs], sources)
    if _is_name(port):
        ports = [item for item in service.spec.ports if item.name == port]
    else:
        number = _number(port) if port else 0
        ports = [item for item in service.spec.ports if number in (0, item.port)]
    found = _first(ports, protocol, f"service {name}", port)
    return Target(address, found.port, protocol or _protocol(found), f"service {name}")


def _reachable(addresses: Sequence[str], sources: Sequence[str]) -> str:
    """The first of a family of the sender's; the first where there is none."""
    families = {":" in source for source in sources}
    return next((address for address in addresses if (":" in address) in families), addresses[0])


def _first(ports: Iterable[Any], protocol: str, shown: str, port: str) -> Any:
    """The first of the protocol, if one is given. Raises BadRequest."""
    wanted = protocol if protocol in ("tcp", "udp", "sctp") else ""
    found = next((item for item in ports if wanted in ("", _protocol(item))), None)
    if found is None:
        described = " ".join(filter(None, (wanted.upper(), "port", port[:80])))
        raise BadRequest(f"{shown} has no {described}")
    return found


def _protocol(port: Any) -> str:
    return str(port.protocol.lower()) or "tcp"
