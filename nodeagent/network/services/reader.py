"""Service and EndpointSlice objects as the values of `model`.

A control plane is not trusted to send objects that its API accepts: an address or port that is none, or exceeds a limit, is
left out and named in `problems`, and the rest is used. Source ranges that are left out never admit more clients. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from nodeagent.network.services.model import (
    MAX_ADDRESSES,
    MAX_ELEMENTS,
    MAX_PORTS,
    MAX_RANGES,
    MAX_STATED,
    PROTOCOLS,
    Backends,
    Endpoint,
    Port,
    ServiceInfo,
    Target,
)  # fmt: skip
from pinnace.core.v1.service_pb2 import Service, ServicePort
from pinnace.discovery.v1.endpointslice_pb2 import Endpoint as SliceEndpoint
from pinnace.discovery.v1.endpointslice_pb2 import EndpointSlice
from pinnace.wellknown import ANNOTATION_SOURCE_RANGES, LABEL_HEADLESS, LABEL_SERVICE_PROXY_NAME

T = TypeVar("T")
_LOCAL, _CLIENT_IP, _EXTERNAL_NAME, _NONE, _LOAD_BALANCER = "Local", "ClientIP", "ExternalName", "None", "LoadBalancer"
# Seconds, as the API has them.
_TIMEOUT, _LONGEST = 10800, 86400
_FAMILIES = {"IPv4": 4, "IPv6": 6}
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_ours(labels: Mapping[str, str]) -> bool:
    """Whether a Service or EndpointSlice with these labels is one for this proxy. Source: kube-proxy's informers."""
    return LABEL_SERVICE_PROXY_NAME not in labels and LABEL_HEADLESS not in labels


def service(key: str, item: Service, problems: list[str]) -> ServiceInfo:
    """A Service without addresses (headless, ExternalName) has no ports here."""
    spec = item.spec
    config = spec.sessionAffinityConfig.clientIP
    timeout = config.timeoutSeconds if config.HasField("timeoutSeconds") else _TIMEOUT
    made = item.metadata.creationTimestamp
    return ServiceInfo(
        key=key, created=(made.seconds, item.metadata.uid),
        ports=tuple(_ports(item, problems)),
        timeout=_within(timeout, problems) if spec.sessionAffinity == _CLIENT_IP else 0,
        internal_local=spec.internalTrafficPolicy == _LOCAL,
        external_local=spec.externalTrafficPolicy == _LOCAL,
        health_port=_node_port(spec.healthCheckNodePort, problems, name="healthCheckNodePort"),
    )  # fmt: skip


def _within(timeout: int, problems: list[str]) -> int:
    """Seconds of affinity."""
    found = min(max(timeout, 1), _LONGEST)
    if found != timeout:
        problems.append(f"sessionAffinity timeout limited to {found} s (is {timeout} s)")
    return found


def _node_port(number: int, problems: list[str], *, name: str = "nodePort") -> int:
    """0 for none; `name` is that of the field."""
    if not 0 <= number < 1 << 16:
        problems.append(f"invalid {name} {number}")
        return 0
    return number


def _ports(item: Service, problems: list[str]) -> Iterator[Port]:
    spec = item.spec
    if spec.type == _EXTERNAL_NAME or spec.clusterIP in (_NONE, ""):
        return
    internal = _addresses("cluster IPs", spec.clusterIPs or [spec.clusterIP], problems)
    ingress = [entry.ip for entry in item.status.loadBalancer.ingress if entry.ip and entry.ipMode != "Proxy"]
    balanced = _addresses("addresses of a load balancer", ingress, problems)
    external = _addresses("external IPs", spec.externalIPs, problems)
    ranges = _ranges(spec.loadBalancerSourceRanges or _annotated(item), problems)
    ports = _distinct(_first(MAX_PORTS, "ports", spec.ports, problems), problems)
    for family in sorted({_family(address) for address in internal}):
        own = [_of(family, found) for found in (internal, (*external, *balanced), balanced)]
        ranged = own[2] if family in ranges else ()
        cidrs = _bounded_ranges(ranges.get(family, ()), len(ranged) * len(ports), problems)
        for name, protocol, port, node_port in ports:
            yield Port(family, name, protocol, port, node_port, own[0], own[1], ranged, cidrs)


def _first(most: int, what: str, items: Iterable[T], problems: list[str]) -> list[T]:
    """So many of them at most."""
    found = list(items)
    if len(found) > most:
        problems.append(f"{len(found)} {what}, of which {most} are used")
    return found[:most]


def _annotated(item: Service) -> list[str]:
    """Source ranges by the field's predecessor, which the API still checks."""
    text = item.metadata.annotations.get(ANNOTATION_SOURCE_RANGES, "").strip()
    return text.split(",") if text and item.spec.type == _LOAD_BALANCER else []


def _distinct(ports: Iterable[ServicePort], problems: list[str]) -> list[tuple[str, str, int, int]]:
    """Name, protocol, port and node's port; each port and node's port of a protocol once."""
    found, used = [], set[tuple[str, int, bool]]()
    for item in ports:
        if (values := _port(item, problems)) is None:
            continue
        protocol, node_port = values
        if (protocol, item.port, False) in used:
            problems.append(f"duplicate port {item.port}/{protocol}")
            continue
        if (protocol, node_port, True) in used:
            problems.append(f"duplicate nodePort {node_port}/{protocol}")
            node_port = 0
        used |= {(protocol, item.port, False), (protocol, node_port, bool(node_port))}
        found.append((item.name, protocol, item.port, node_port))
    return found


def _port(port: ServicePort, problems: list[str]) -> tuple[str, int] | None:
    protocol = (port.protocol or "TCP").lower()
    if protocol not in PROTOCOLS or not 0 < port.port < 1 << 16:
        problems.append(f"invalid port {port.port}/{port.protocol[:10]}")
        return None
    return protocol, _node_port(port.nodePort, problems)


def _family(address: str) -> int:
    return 6 if ":" in address else 4


def _of(family: int, addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(address for address in addresses if _family(address) == family))


def _addresses(what: str, texts: Iterable[str], problems: list[str]) -> tuple[str, ...]:
    """As nftables writes them; none of a kind that would take the node's own traffic."""
    found = []
    for text in _first(MAX_ADDRESSES, what, dict.fromkeys(texts), problems):
        address = _address(text)
        if address is None:
            problems.append(f"{what}: invalid address {text[:64]!r}")
        else:
            found.append(address)
    return tuple(found)


def _address(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if address.is_unspecified or address.is_loopback or address.is_link_local or address.is_multicast:
        return None
    return str(address) if getattr(address, "scope_id", None) is None else None


def _ranges(texts: Iterable[str], problems: list[str]) -> dict[int, tuple[_Network, ...]]:
    """By family, merged: a set of intervals has no two that overlap. A family that is not a key is not restricted; both are
    keys if one that is left out may have been of either."""
    stated = [*texts]
    found = dict[int, list[_Network]]()
    used = _first(MAX_STATED, "source ranges", stated, problems)
    restricted = {4, 6} if len(used) < len(stated) else set[int]()
    for text in used:
        try:
            if "%" in text:
                raise ValueError(text)
            network = ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            problems.append(f"invalid source range {text[:64]!r}")
            restricted = {4, 6}
            continue
        found.setdefault(network.version, []).append(network)
    return {
        family: tuple(ipaddress.collapse_addresses(found.get(family, ())))  # type: ignore[type-var]
        for family in (4, 6)
        if family in restricted or family in found
    }


def _bounded_ranges(ranges: Sequence[_Network], frontends: int, problems: list[str]) -> tuple[str, ...]:
    """There is an element for each range of each frontend, and one for the frontend's own address. Clients of ranges that are
    left out are dropped."""
    most = min(MAX_RANGES, max(MAX_ELEMENTS // max(frontends, 1) - 1, 0))
    return tuple(map(_cidr, _first(most, "merged source ranges of an IP family", ranges, problems)))


def _cidr(network: _Network) -> str:
    """As nftables lists it: a single address without a length."""
    return str(network) if network.num_addresses > 1 else str(network.network_address)


def backends(slices: Iterable[EndpointSlice], problems: list[str]) -> Backends:
    """The endpoints of all slices of a Service, in the order of their targets. One that several slices have: the first of them
    that is ready, as kube-proxy does while an endpoint moves from slice to slice."""
    found: dict[tuple[int, str, str], dict[Target, Endpoint]] = {}
    for item in sorted(slices, key=lambda item: item.metadata.name):
        if (family := _FAMILIES.get(item.addressType)) is None:
            continue
        ends = [(address, one) for one in item.endpoints if (address := _address_of(one, family, problems)) is not None]
        for port in _first(MAX_PORTS, f"ports of slice {item.metadata.name[:253]}", item.ports, problems):
            protocol = (port.protocol or "TCP").lower()
            if protocol not in PROTOCOLS or not 0 < port.port < 1 << 16:
                problems.append(f"invalid port {port.port}/{protocol[:10]} of slice {item.metadata.name[:253]}")
                continue
            members = found.setdefault((family, port.name, protocol), {})
            for endpoint in _endpoints(ends, port.port):
                if (before := members.get(endpoint.target)) is None or (endpoint.ready and not before.ready):
                    members[endpoint.target] = endpoint
    return Backends({key: tuple(members[target] for target in sorted(members)) for key, members in found.items()})


def _address_of(endpoint: SliceEndpoint, family: int, problems: list[str]) -> str | None:
    """The first, as all that an endpoint has are the same one's."""
    text = endpoint.addresses[0] if endpoint.addresses else ""
    address = _address(text)
    if address is None or _family(address) != family:
        problems.append(f"invalid endpoint address {text[:64]!r}")
        return None
    return address


def _endpoints(items: Iterable[tuple[str, SliceEndpoint]], port: int) -> Iterator[Endpoint]:
    for address, item in items:
        state = item.conditions
        ready = state.ready if state.HasField("ready") else True
        yield Endpoint(
            Target(address, port), item.nodeName, ready=ready,
            serving=state.serving if state.HasField("serving") else ready, terminating=state.terminating,
            zones=frozenset(hint.name for hint in item.hints.forZones),
            nodes=frozenset(hint.name for hint in item.hints.forNodes),
        )  # fmt: skip
