"""Endpoints: addresses and ports; and rules of addresses that Services and EndpointSlices share.

Source: core/v1's ValidateEndpoints and ValidateNonSpecialIP.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, formats
from pinnace.admission.kindrules import KindRules
from pinnace.admission.meta import each
from pinnace.core.v1.endpoints_pb2 import EndpointAddress, EndpointPort, Endpoints, EndpointSubset
from pinnace.errors import Cause
from pinnace.services import PROTOCOLS

# Why an address cannot be an endpoint, by the property of it that `ipaddress` knows.
_SPECIAL = (
    ("is_loopback", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
    ("is_link_local", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
)
_LINK_LOCAL_MULTICAST = tuple(ipaddress.ip_network(cidr) for cidr in ("224.0.0.0/24", "ff02::/16"))


def not_special(path: str, text: str) -> Iterator[Cause]:
    """Errors of an address that means something else on each node. An address that is none is another rule's error."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return
    if address.is_unspecified:
        yield fielderrors.invalid(path, text, f"may not be unspecified ({text})")
    for name, detail in _SPECIAL:
        if getattr(address, name):
            yield fielderrors.invalid(path, text, detail)
    if any(address.version == network.version and address in network for network in _LINK_LOCAL_MULTICAST):
        yield fielderrors.invalid(path, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")


def protocol(path: str, name: str) -> Iterator[Cause]:
    """Errors of a port's protocol."""
    if not name:
        yield fielderrors.required(path)
    elif name not in PROTOCOLS:
        yield fielderrors.not_supported(path, name, PROTOCOLS)


def app_protocol(path: str, port: Any) -> Iterator[Cause]:
    """Errors of the protocol that an application speaks."""
    if port.HasField("appProtocol"):
        yield from each(path, port.appProtocol, formats.qualified_name)


def validate(item: Endpoints) -> list[Cause]:
    return [cause for index, subset in enumerate(item.subsets) for cause in _subset(f"subsets[{index}]", subset)]


def _subset(path: str, subset: EndpointSubset) -> Iterator[Cause]:
    if not subset.addresses and not subset.notReadyAddresses:
        yield fielderrors.required(path, "must specify `addresses` or `notReadyAddresses`")
    for name in ("addresses", "notReadyAddresses"):
        for index, address in enumerate(getattr(subset, name)):
            yield from _address(f"{path}.{name}[{index}]", address)
    for index, port in enumerate(subset.ports):
        yield from _port(f"{path}.ports[{index}]", port, named=len(subset.ports) > 1)


def _address(path: str, address: EndpointAddress) -> Iterator[Cause]:
    yield from each(f"{path}.ip", address.ip, formats.ip)
    if address.hostname:
        yield from each(f"{path}.hostname", address.hostname, formats.dns_label)
    if address.HasField("nodeName"):
        yield from each(f"{path}.nodeName", address.nodeName, formats.dns_subdomain)
    yield from not_special(f"{path}.ip", address.ip)


def _port(path: str, port: EndpointPort, *, named: bool) -> Iterator[Cause]:
    if port.name:
        yield from each(f"{path}.name", port.name, formats.dns_label)
    elif named:
        yield fielderrors.required(f"{path}.name")
    for detail in formats.port_number(port.port):
        yield fielderrors.invalid(f"{path}.port", port.port, detail)
    yield from protocol(f"{path}.protocol", port.protocol)
    yield from app_protocol(f"{path}.appProtocol", port)


RULES: KindRules[Endpoints] = KindRules(validate=validate)
