"""The meaning of NetworkPolicies, from their manifests: may this packet pass?

The reference for the product, of which nothing is used here, so that a misreading of a field is on one side only: specs are read
as users write them, without defaults or messages.
Source: https://kubernetes.io/docs/concepts/services-networking/network-policies/ and the API reference of NetworkPolicySpec. Where
they leave a choice, docs/network-policy.md has ours.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tests.support.policyworlds import World

# A part of a manifest.
Json = Mapping[str, Any]
_INGRESS, _EGRESS = "Ingress", "Egress"
_RULES = {_INGRESS: "ingress", _EGRESS: "egress"}
_PEERS = {_INGRESS: "from", _EGRESS: "to"}


class Packet(NamedTuple):
    """`protocol` is TCP, UDP, SCTP or one without ports; `port` that of the destination."""

    source: str
    destination: str
    protocol: str
    port: int = 0


class Reference:
    """The verdicts of a world's policies."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._owners = {address: uid for uid, pod in world.pods.items() for address in pod.addresses}

    def allows(self, packet: Packet) -> bool:
        """By the policies of those ends that are pods of this node."""
        return self._end(_EGRESS, packet, packet.source, packet.destination) and self._end(
            _INGRESS, packet, packet.destination, packet.source
        )

    def _end(self, direction: str, packet: Packet, address: str, other: str) -> bool:
        uid = self._owners.get(address)
        if uid not in self._world.local or self._owners.get(other) == uid:
            return True
        pod = self._world.pods[uid]
        specs = [
            spec
            for (namespace, _), spec in self._world.policies.items()
            if namespace == pod.namespace and direction in _types(spec) and _selects(spec.get("podSelector") or {}, pod.labels)
        ]
        rules = [rule for spec in specs for rule in spec.get(_RULES[direction]) or []]
        return not specs or any(
            self._has_peer(rule.get(_PEERS[direction]), pod.namespace, other) and self._has_port(rule.get("ports"), packet)
            for rule in rules
        )

    def _has_peer(self, peers: list[Json] | None, namespace: str, address: str) -> bool:
        """An empty list, or none, is every peer."""
        return not peers or any(self._is(peer, namespace, address) for peer in peers)

    def _is(self, peer: Json, namespace: str, address: str) -> bool:
        if (block := peer.get("ipBlock")) is not None:
            return _within(address, block["cidr"]) and not any(_within(address, part) for part in block.get("except") or [])
        if (uid := self._owners.get(address)) is None:
            return False
        pod, spaces, pods = self._world.pods[uid], peer.get("namespaceSelector"), peer.get("podSelector")
        if spaces is None:
            return pod.namespace == namespace and _selects(pods or {}, pod.labels)
        return _selects(spaces, self._world.namespaces[pod.namespace]) and (pods is None or _selects(pods, pod.labels))

    def _has_port(self, ports: list[Json] | None, packet: Packet) -> bool:
        """An empty list, or none, is all traffic. Names are those of the pod that receives it."""
        receiver = self._owners.get(packet.destination)
        named = self._world.pods[receiver].ports if receiver else ()
        names = {port.name for port in named if (port.protocol.upper(), port.number) == (packet.protocol, packet.port)}
        return not ports or any(_is_port(port, packet, names) for port in ports)


def _types(spec: Json) -> list[str]:
    """By default Ingress, and Egress if there are rules of egress."""
    return spec.get("policyTypes") or ([_INGRESS, _EGRESS] if spec.get("egress") else [_INGRESS])


def _is_port(port: Json, packet: Packet, names: set[str]) -> bool:
    wanted = port.get("port")
    if (port.get("protocol") or "TCP") != packet.protocol:
        return False
    if wanted is None or isinstance(wanted, str):
        return wanted is None or wanted in names
    return bool(wanted <= packet.port <= (port.get("endPort") or wanted))


def _within(address: str, network: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(network)


def _selects(selector: Json, labels: Mapping[str, str]) -> bool:
    """All of its requirements must match; an empty selector has none. NotIn matches a label that is not there."""
    return all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items()) and all(
        _matches(item["operator"], labels.get(item["key"]), item.get("values") or [])
        for item in selector.get("matchExpressions") or []
    )


def _matches(operator: str, value: str | None, values: list[str]) -> bool:
    return {
        "In": value in values, "NotIn": value not in values, "Exists": value is not None, "DoesNotExist": value is None,
    }[operator]  # fmt: skip
