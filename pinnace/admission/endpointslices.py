"""EndpointSlices: addresses of one family, and ports.

Source: pkg/apis/discovery/validation.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from pinnace import fielderrors, formats
from pinnace.admission import endpoints, meta
from pinnace.admission.kindrules import KindRules
from pinnace.admission.meta import each
from pinnace.discovery.v1.endpointslice_pb2 import Endpoint, EndpointHints, EndpointPort, EndpointSlice
from pinnace.errors import Cause
from pinnace.services import FQDN, IPV4, IPV6

TYPES = (FQDN, IPV4, IPV6)
MAX_ENDPOINTS, MAX_ADDRESSES, MAX_PORTS, MAX_TOPOLOGY, MAX_HINTS = 1000, 100, 100, 16, 8


def default(item: EndpointSlice) -> None:
    for port in item.ports:
        # Set to the empty text, as field options cannot.
        port.name = port.name


def validate(item: EndpointSlice) -> list[Cause]:
    if not item.addressType:
        errors = [fielderrors.required("addressType")]
    elif item.addressType not in TYPES:
        errors = [fielderrors.not_supported("addressType", item.addressType, TYPES)]
    else:
        errors = []
    return [*errors, *_endpoints(item), *_ports(item)]


def _endpoints(item: EndpointSlice) -> Iterator[Cause]:
    if len(item.endpoints) > MAX_ENDPOINTS:
        yield fielderrors.too_many("endpoints", len(item.endpoints), MAX_ENDPOINTS)
        return
    for index, endpoint in enumerate(item.endpoints):
        yield from _endpoint(f"endpoints[{index}]", endpoint, item.addressType)


def _endpoint(path: str, endpoint: Endpoint, family: str) -> Iterator[Cause]:
    if not endpoint.addresses:
        yield fielderrors.required(f"{path}.addresses", "must contain at least 1 address")
    elif len(endpoint.addresses) > MAX_ADDRESSES:
        yield fielderrors.too_many(f"{path}.addresses", len(endpoint.addresses), MAX_ADDRESSES)
    for index, address in enumerate(endpoint.addresses[:MAX_ADDRESSES]):
        yield from _address(f"{path}.addresses[{index}]", address, family)
    if endpoint.HasField("nodeName"):
        yield from each(f"{path}.nodeName", endpoint.nodeName, formats.dns_subdomain)
    if len(endpoint.deprecatedTopology) > MAX_TOPOLOGY:
        yield fielderrors.too_many(f"{path}.deprecatedTopology", len(endpoint.deprecatedTopology), MAX_TOPOLOGY)
    yield from meta.labels(f"{path}.deprecatedTopology", endpoint.deprecatedTopology)
    if endpoint.HasField("hostname"):
        yield from each(f"{path}.hostname", endpoint.hostname, formats.dns_label)
    yield from _hints(f"{path}.hints", endpoint.hints)


def _address(path: str, text: str, family: str) -> Iterator[Cause]:
    if family == FQDN:
        yield from _domain_name(path, text)
        return
    if family not in (IPV4, IPV6):
        return
    if formats.ip(text) or ipaddress.ip_address(text).version != int(family[-1]):
        yield fielderrors.invalid(path, text, f"must be a valid {family} address")
        return
    yield from endpoints.not_special(path, text)


def _domain_name(path: str, text: str) -> Iterator[Cause]:
    name = text.removesuffix(".")
    if not name:
        yield fielderrors.required(path)
        return
    found = formats.dns_subdomain(name)
    yield from (fielderrors.invalid(path, text, detail) for detail in found)
    if not found and "." not in name:
        yield fielderrors.invalid(path, text, "should be a domain with at least two segments separated by dots")


def _hints(path: str, hints: EndpointHints) -> Iterator[Cause]:
    for field in ("forZones", "forNodes"):
        items = getattr(hints, field)
        if len(items) > MAX_HINTS:
            yield fielderrors.too_many(f"{path}.{field}", len(items), MAX_HINTS)
            continue
        seen: set[str] = set()
        for index, item in enumerate(items):
            here = f"{path}.{field}[{index}].name"
            check = formats.label_value if field == "forZones" else formats.dns_subdomain
            yield from each(here, item.name, check)
            if item.name in seen:
                yield fielderrors.duplicate(here, item.name)
            seen.add(item.name)


def _ports(item: EndpointSlice) -> Iterator[Cause]:
    if len(item.ports) > MAX_PORTS:
        yield fielderrors.too_many("ports", len(item.ports), MAX_PORTS)
        return
    seen: set[str] = set()
    for index, port in enumerate(item.ports):
        yield from _port(f"ports[{index}]", port, seen)


def _port(path: str, port: EndpointPort, seen: set[str]) -> Iterator[Cause]:
    if port.name:
        yield from each(f"{path}.name", port.name, formats.dns_label)
    if port.name in seen:
        yield fielderrors.duplicate(f"{path}.name", port.name)
    seen.add(port.name)
    if port.HasField("port"):
        for detail in formats.port_number(port.port):
            yield fielderrors.invalid(f"{path}.port", port.port, detail)
    yield from endpoints.protocol(f"{path}.protocol", port.protocol)
    yield from endpoints.app_protocol(f"{path}.appProtocol", port)


def validate_update(old: EndpointSlice, new: EndpointSlice) -> list[Cause]:
    if old.addressType == new.addressType:
        return []
    return [fielderrors.invalid("addressType", new.addressType, "field is immutable")]


RULES: KindRules[EndpointSlice] = KindRules(default=default, validate=validate, validate_update=validate_update)
