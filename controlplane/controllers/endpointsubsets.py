"""Addresses and ports of pods as the subsets of an Endpoints object, in one canonical form. Pure.

Source: RepackSubsets of pkg/api/v1/endpoints/util.go; truncateEndpoints of kube-controller-manager's endpoints_controller.go.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from controlplane.controllers.sliceplan import Port
from pinnace import kinds
from pinnace.core.v1.endpoints_pb2 import EndpointAddress, Endpoints, EndpointSubset

# Addresses of one object; the rest is left out, and an annotation says so.
CAPACITY = 1000


class Address(NamedTuple):
    """Of one pod."""

    ip: str
    uid: str
    pod: str
    node: str
    hostname: str


class Subset(NamedTuple):
    """Addresses that share their ports, by IP and uid."""

    ports: tuple[Port, ...]
    ready: tuple[Address, ...]
    unready: tuple[Address, ...]

    @property
    def size(self) -> int:
        return len(self.ready) + len(self.unready)


def pack(found: Iterable[tuple[Address, bool, tuple[Port, ...]]]) -> list[Subset]:
    """Group addresses, each with whether it is ready and its ports, so that each port is in the subset of all its addresses.
    No port at all counts as one."""
    by_port: dict[Port | None, dict[Address, bool]] = {}
    for address, ready, ports in found:
        for port in ports or (None,):
            by_port.setdefault(port, {})[address] = ready
    groups: dict[frozenset[tuple[Address, bool]], list[Port]] = {}
    for port, addresses in by_port.items():
        ports_of = groups.setdefault(frozenset(addresses.items()), [])
        if port is not None:
            ports_of.append(port)
    return sorted(_subset(addresses, ports) for addresses, ports in groups.items())


def _subset(addresses: frozenset[tuple[Address, bool]], ports: Iterable[Port]) -> Subset:
    order = sorted(addresses)
    ready = tuple(address for address, is_ready in order if is_ready)
    unready = tuple(address for address, is_ready in order if not is_ready)
    return Subset(tuple(sorted(ports, key=lambda port: (*port[:3], port.app_protocol or ""))), ready, unready)


def truncate(subsets: list[Subset]) -> list[Subset]:
    """At most CAPACITY addresses: those that are ready first, of each subset in proportion."""
    ready = sum(len(subset.ready) for subset in subsets)
    unready = sum(len(subset.unready) for subset in subsets)
    if ready + unready <= CAPACITY:
        return subsets
    if ready > CAPACITY:
        shares = _shares([len(subset.ready) for subset in subsets], CAPACITY)
        return [one._replace(ready=one.ready[:share], unready=()) for one, share in zip(subsets, shares, strict=True)]
    shares = _shares([len(subset.unready) for subset in subsets], CAPACITY - ready)
    return [one._replace(unready=one.unready[:share]) for one, share in zip(subsets, shares, strict=True)]


def _shares(sizes: list[int], most: int) -> list[int]:
    """`most` divided in proportion, rounded up while there is some left."""
    total, left, shares = sum(sizes), most, []
    for size in sizes:
        share = min(math.ceil(size / total * most), left)
        shares.append(share)
        left -= min(share, size)
    return shares


def write(item: Endpoints, subsets: Iterable[Subset]) -> None:
    item.ClearField("subsets")
    for subset in subsets:
        made = item.subsets.add()
        made.addresses.extend(_message(item.metadata.namespace, address) for address in subset.ready)
        made.notReadyAddresses.extend(_message(item.metadata.namespace, address) for address in subset.unready)
        _write_ports(made, subset.ports)


def _write_ports(made: EndpointSubset, ports: Iterable[Port]) -> None:
    for port in ports:
        entry = made.ports.add(name=port.name, port=port.number, protocol=port.protocol)
        if port.app_protocol is not None:
            entry.appProtocol = port.app_protocol


def _message(namespace: str, address: Address) -> EndpointAddress:
    made = EndpointAddress(ip=address.ip, hostname=address.hostname)
    if address.node:
        made.nodeName = address.node
    made.targetRef.kind, made.targetRef.namespace = kinds.POD.kind, namespace
    made.targetRef.name, made.targetRef.uid = address.pod, address.uid
    return made
