"""NetworkPolicies: directions, ports and their ranges, and peers by selectors or addresses.

Source: networking/validation (ValidateNetworkPolicySpec), networking/v1's defaults.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from pinnace import fielderrors, formats, labelselectors, policypeers
from pinnace.admission import meta
from pinnace.admission.kindrules import KindRules
from pinnace.errors import Cause
from pinnace.networking.v1.networkpolicy_pb2 import IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort
from pinnace.policypeers import EGRESS, INGRESS

PROTOCOLS = "TCP", "UDP", "SCTP"
TYPES = INGRESS, EGRESS


def default(item: NetworkPolicy) -> None:
    spec = item.spec
    # Shown even when it is empty, as by Kubernetes.
    spec.podSelector.SetInParent()
    if not spec.policyTypes:
        spec.policyTypes.extend((INGRESS, EGRESS) if spec.egress else (INGRESS,))


def validate(item: NetworkPolicy) -> list[Cause]:
    spec = item.spec
    errors = [*labelselectors.validate(spec.podSelector, "spec.podSelector")]
    for rule in policypeers.rules(item):
        for index, port in enumerate(rule.ports):
            errors += _port(port, f"{rule.path}.ports[{index}]")
        for index, peer in enumerate(rule.peers):
            errors += _peer(peer, f"{rule.path}.{rule.peers_name}[{index}]")
    return [*errors, *_types(list(spec.policyTypes))]


def _types(types: list[str]) -> Iterator[Cause]:
    if len(types) > len(TYPES):
        yield fielderrors.invalid("spec.policyTypes", types, "may not specify more than two policyTypes")
        return
    for index, name in enumerate(types):
        if name not in TYPES:
            yield fielderrors.not_supported(f"spec.policyTypes[{index}]", name, TYPES)


def _port(item: NetworkPolicyPort, path: str) -> Iterator[Cause]:
    if item.HasField("protocol") and item.protocol not in PROTOCOLS:
        yield fielderrors.not_supported(f"{path}.protocol", item.protocol, PROTOCOLS)
    if item.HasField("port") and item.port.type == 0:
        yield from _range(item, path)
        return
    if item.HasField("endPort"):
        state = "non-numeric" if item.HasField("port") else "not specified"
        yield fielderrors.invalid(f"{path}.endPort", item.endPort, f"may not be specified when `port` is {state}")
    if item.HasField("port"):
        yield from meta.each(f"{path}.port", item.port.strVal, formats.port_name)


def _range(item: NetworkPolicyPort, path: str) -> Iterator[Cause]:
    first = item.port.intVal
    for detail in formats.port_number(first):
        yield fielderrors.invalid(f"{path}.port", first, detail)
    if item.HasField("endPort"):
        if item.endPort < first:
            yield fielderrors.invalid(f"{path}.endPort", item.endPort, "must be greater than or equal to `port`")
        for detail in formats.port_number(item.endPort):
            yield fielderrors.invalid(f"{path}.endPort", item.endPort, detail)


def _peer(item: NetworkPolicyPeer, path: str) -> Iterator[Cause]:
    if item.HasField("podSelector"):
        yield from labelselectors.validate(item.podSelector, f"{path}.podSelector")
    if item.HasField("namespaceSelector"):
        yield from labelselectors.validate(item.namespaceSelector, f"{path}.namespaceSelector")
    selects = item.HasField("podSelector") or item.HasField("namespaceSelector")
    if item.HasField("ipBlock"):
        yield from _block(item.ipBlock, f"{path}.ipBlock")
        if selects:
            yield fielderrors.forbidden(path, "may not specify both ipBlock and another peer")
    elif not selects:
        yield fielderrors.required(path, "must specify a peer")


def _block(item: IPBlock, path: str) -> Iterator[Cause]:
    if not item.cidr:
        yield fielderrors.required(f"{path}.cidr")
        return
    errors = [*meta.each(f"{path}.cidr", item.cidr, formats.network)]
    yield from errors
    for index, text in enumerate(getattr(item, "except")):
        here = f"{path}.except[{index}]"
        wrong = [*meta.each(here, text, formats.network)]
        yield from wrong
        if not errors and not wrong and not _is_within(text, item.cidr):
            yield fielderrors.invalid(here, text, "must be a strict subset of `cidr`")


def _is_within(inner: str, outer: str) -> bool:
    """Whether a network is a part of another one, and not all of it."""
    small, large = ipaddress.ip_network(inner), ipaddress.ip_network(outer)
    if small.version != large.version or small.prefixlen <= large.prefixlen:
        return False
    return int(large.network_address) <= int(small.network_address) <= int(large.broadcast_address)


RULES: KindRules[NetworkPolicy] = KindRules(default=default, validate=validate)
