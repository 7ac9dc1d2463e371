"""Addresses and keys that a node may state, of its pods and of itself: those that are not another's.

Traffic of Services, rules of policies and the overlay follow them. What a node stated before is not looked at again: a cluster
whose ranges were changed, say, keeps its nodes. Functions of a transaction, which raise Invalid; costs an index lookup for each
address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from controlplane import conditions, podaddresses
from controlplane.resources.node import STATED
from controlplane.store import Tx
from pinnace import formats, kinds
from pinnace.errors import Invalid
from pinnace.wellknown import ANNOTATION_WIREGUARD_KEY

# What the addresses of a range are for, by CIDR.
Ranges = Mapping[str, str]
# Of one node: more than any machine has, for each of which there is a lookup.
MAX_ADDRESSES = 64


def check_pod(node: Any, pod: Any, status: Any) -> None:
    """The addresses of a pod of the node. A node that stated its own as none has no pods in its network."""
    network = podaddresses.network_of(node)
    ips = {"podIP": status.podIP, **{f"podIPs[{index}].ip": item.ip for index, item in enumerate(status.podIPs)}}
    for path, ip in ips.items():
        if ip and not network.holds(ip, host_network=pod.spec.hostNetwork):
            owned = "own addresses" if pod.spec.hostNetwork else f"pod CIDRs ({', '.join(network.cidrs)})"
            raise Invalid(f"status.{path}: {ip[:64]} is none of the {owned} of node {node.metadata.name}")
    hosts = {"hostIP": status.hostIP, **{f"hostIPs[{index}].ip": item.ip for index, item in enumerate(status.hostIPs)}}
    for path, ip in hosts.items():
        if ip and not network.holds(ip, host_network=True):
            raise Invalid(f"status.{path}: {ip[:64]} is none of the addresses of node {node.metadata.name}")


def check_node(tx: Tx, node: Any, status: Any, ranges: Ranges) -> None:
    """The addresses that the status of `node` is to have."""
    if len(status.addresses) > MAX_ADDRESSES:
        raise Invalid(f"node.status.addresses: must have at most {MAX_ADDRESSES} items")
    known = podaddresses.network_of(node).addresses
    for index, item in enumerate(status.addresses):
        if item.type in podaddresses.IP_TYPES and item.address not in known:
            for error in _errors(tx, node, item.address, ranges):
                raise Invalid(f"node.status.addresses[{index}]: {error}")


def check_key(tx: Tx, node: Any, key: str) -> None:
    """The node's WireGuard key: peers would use neither of two nodes with one key."""
    if key and node.metadata.annotations.get(ANNOTATION_WIREGUARD_KEY) != key:
        for other in _others(tx, node, key):
            raise Invalid(f'wireguardKey: node "{other.metadata.name}" has this key')


def _errors(tx: Tx, node: Any, address: str, ranges: Ranges) -> Iterator[str]:
    yield from formats.ip(address)
    if address != podaddresses.canonical(address):
        yield f'must be in canonical form: "{podaddresses.canonical(address)}"'
    if cidr := podaddresses.range_of(address, ranges):
        yield f"{address} is in the {ranges[cidr]} {cidr}, which nodes have no addresses of: choose another range"
    for other in _others(tx, node, address):
        if _is_ready(other):
            yield f'node "{other.metadata.name}" has the address {address}'


def _is_ready(node: Any) -> bool:
    """Of a node that is not, the address may be another's by now: hosts get new ones, and exchange them."""
    ready = conditions.find(node.status, "Ready")
    return ready is not None and ready.status == "True"


def _others(tx: Tx, node: Any, stated: str) -> Iterable[Any]:
    found = (row.message for row in tx.by_index(kinds.NODE, STATED, stated))
    return (other for other in found if other.metadata.name != node.metadata.name)
