"""The node that answers for the addresses of a Service of type LoadBalancer. Pure.

It is one node at a time, so that packets reach one node, and it stays while it can: only a node that fails loses its addresses.
Else the choice follows from the names of Service and node (rendezvous hashing), so that the addresses of several Services are
spread over the nodes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable

from controlplane import conditions
from pinnace import services
from pinnace.core.v1.node_pb2 import Node
from pinnace.core.v1.service_pb2 import Service
from pinnace.discovery.v1.endpointslice_pb2 import EndpointSlice
from pinnace.wellknown import LABEL_EXCLUDED_FROM_LOAD_BALANCERS


def is_able(node: Node) -> bool:
    """Whether a node may answer for addresses: it is Ready, stays, and is not excluded by its label."""
    ready = conditions.find(node.status, "Ready")
    if ready is None or ready.status != "True" or node.metadata.deletionTimestamp.seconds:
        return False
    return node.metadata.labels.get(LABEL_EXCLUDED_FROM_LOAD_BALANCERS, "false").lower() in ("false", "f", "0")


def nodes_with_endpoints(slices: Iterable[EndpointSlice]) -> set[str]:
    """Nodes with an endpoint that is ready; where none is, those with one that still serves while it terminates."""
    ready, serving = set[str](), set[str]()
    for item in slices:
        for endpoint in item.endpoints:
            state = endpoint.conditions
            if state.ready or not state.HasField("ready"):
                ready.add(endpoint.nodeName)
            elif state.serving and state.terminating:
                serving.add(endpoint.nodeName)
    return (ready or serving) - {""}


def choose(service: Service, able: Iterable[str], local: Collection[str] | None, current: str) -> str:
    """The node for a Service; empty for none. `able`: names of nodes that may; `local`: those with endpoints, where only they
    may; `current`: the node that answers now."""
    candidates = [name for name in able if local is None or name in local]
    if current in candidates:
        return current
    return max(candidates, key=lambda name: _weight(service.metadata.uid, name), default="")


def _weight(uid: str, node: str) -> bytes:
    return hashlib.sha256(f"{uid}/{node}".encode()).digest()


def wants_local(service: Service) -> bool:
    return service.spec.externalTrafficPolicy == services.LOCAL
