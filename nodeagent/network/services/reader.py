"""Service and EndpointSlice objects as the values of `model`.

A control plane is not trusted to send objects that its API accepts: an address or port that is none is left out and named in
`problems`, and the rest is used. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping

from nodeagent.network.services.model import (
    MAX_ADDRESSES,
    MAX_ENDPOINTS,
    MAX_PORTS,
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

_LOCAL, _CLIENT_IP, _EXTERNAL_NAME, _NONE, _LOAD_BALANCER = "Local", "ClientIP", "ExternalName", "None", "LoadBalancer"
# Seconds, as the API has them.
_TIMEOUT, _LONGEST = 10800, 86400
_FAMILIES = {"IPv4": 4, "IPv6": 6}


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
        timeout=min(max(timeout, 1), _LONGEST) if spec.sessionAffinity == _CLIENT_IP else 0,
        internal_local=spec.internalTrafficPolicy == _LOCAL,
        external_local=spec.externalTrafficPolicy == _LOCAL,
        health_port=spec.healthCheckNodePort if 0 < spec.healthCheckNodePort < 1 << 16 else 0,
    )  # fmt: skip


def _ports(item: Service, problems: list[str]) -> Iterator[Port]:
    spec = item.spec
    if spec.type == _EXTERNAL_NAME or spec.clusterIP in (_NONE, ""):
        return
    internal = _addresses(spec.clusterIPs or [spec.clusterIP], problems)
    balanced = _addresses([i.ip for i in item.status.loadBalancer.ingress if i.ip and i.ipMode != "Proxy"], problems)
    external = _addresses(spec.externalIPs, problems)
    ranges = _ranges(spec.loadBalancerSourceRanges or _annotated(item), problems)
    if len(spec.ports) > MAX_PORTS:
        problems.append(f"{len(spec.ports)} ports, of which {MAX_PORTS} are used")
    ports = _distinct(spec.ports[:MAX_PORTS], problems)
    for family in sorted({_family(address) for address in internal}):
        own = [_of(family, found) for found in (internal, (*external, *balanced), balanced, ranges)]
        for name, protocol, port, node_port in ports:
            ranged = own[2] if own[3] else ()
            yield Port(family, name, protocol, port, node_port, own[0], own[1], ranged, own[3])


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
            problems.append(f"port {item.port}/{protocol} occurs twice")
            continue
        if (protocol, node_port, True) in used:
            node_port = 0
        used |= {(protocol, item.port, False), (protocol, node_port, bool(node_port))}
        found.append((item.name, protocol, item.port, node_port))
    return found


def _port(port: ServicePort, problems: list[str]) -> tuple[str, int] | None:
    protocol = (port.protocol or "TCP").lower()
    if protocol not in PROTOCOLS or not 0 < port.port < 1 << 16:
        problems.append(f"port {port.port}/{port.protocol[:10]} is none")
        return None
    return protocol, port.nodePort if 0 < port.nodePort < 1 << 16 else 0


def _family(address: str) -> int:
    return 6 if ":" in address else 4


def _of(family: int, addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(address for address in addresses if _family(address) == family))


def _addresses(texts: Iterable[str], problems: list[str]) -> tuple[str, ...]:
    """As nftables writes them; none of a kind that would take the node's own traffic."""
    found = []
    for text in [*texts][:MAX_ADDRESSES]:
        address = _address(text)
        if address is None:
            problems.append(f"{text[:64]} is no address of a Service")
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


def _ranges(texts: Iterable[str], problems: list[str]) -> tuple[str, ...]:
    """Merged: a set of intervals has no two that overlap."""
    found: dict[int, list[ipaddress.IPv4Network | ipaddress.IPv6Network]] = {4: [], 6: []}
    for text in [*texts][:MAX_PORTS]:
        try:
            if "%" in text:
                raise ValueError(text)
            network = ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            problems.append(f"{text[:64]} is no CIDR")
            continue
        found[network.version].append(network)
    return tuple(_cidr(item) for family in (4, 6) for item in ipaddress.collapse_addresses(found[family]))  # type: ignore[type-var]


def _cidr(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    """As nftables lists it: a single address without a length."""
    return str(network) if network.num_addresses > 1 else str(network.network_address)


def backends(slices: Iterable[EndpointSlice], problems: list[str]) -> Backends:
    """The endpoints of all slices of a Service. One that several slices have: the first of them that is ready, as kube-proxy
    does while an endpoint moves from slice to slice."""
    found: dict[tuple[int, str, str], dict[Target, Endpoint]] = {}
    for item in sorted(slices, key=lambda item: item.metadata.name):
        family = _FAMILIES.get(item.addressType)
        for port in item.ports[:MAX_PORTS]:
            protocol = (port.protocol or "TCP").lower()
            if family is None or protocol not in PROTOCOLS or not 0 < port.port < 1 << 16:
                continue
            members = found.setdefault((family, port.name, protocol), {})
            for endpoint in _endpoints(item.endpoints, port.port, family):
                if (before := members.get(endpoint.target)) is None or (endpoint.ready and not before.ready):
                    members[endpoint.target] = endpoint
    return Backends({key: _bounded(members, problems) for key, members in found.items()})


def _endpoints(items: Iterable[SliceEndpoint], port: int, family: int) -> Iterator[Endpoint]:
    for item in items:
        address = _address(item.addresses[0]) if item.addresses else None
        if address is None or _family(address) != family:
            continue
        state = item.conditions
        ready = state.ready if state.HasField("ready") else True
        yield Endpoint(
            Target(address, port), item.nodeName, ready=ready,
            serving=state.serving if state.HasField("serving") else ready, terminating=state.terminating,
            zones=frozenset(hint.name for hint in item.hints.forZones),
            nodes=frozenset(hint.name for hint in item.hints.forNodes),
        )  # fmt: skip


def _bounded(members: dict[Target, Endpoint], problems: list[str]) -> tuple[Endpoint, ...]:
    if len(members) > MAX_ENDPOINTS:
        problems.append(f"{len(members)} endpoints of a port, of which {MAX_ENDPOINTS} are used")
    return chosen(members.values(), MAX_ENDPOINTS)


def chosen(items: Iterable[Endpoint], most: int) -> tuple[Endpoint, ...]:
    """So many of them, ready ones first; in the order of their targets."""
    found = sorted(items, key=lambda item: (not item.ready, item.target))[:most]
    return tuple(sorted(found, key=lambda item: item.target))
