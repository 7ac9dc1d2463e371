"""The nodes of endpoints: their zones, and whether their pods can have the addresses that the statuses state.

An address that a pod cannot have on its node is none of its endpoints: its traffic would be another's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from controlplane import podaddresses
from controlplane.controllers import podendpoints
from controlplane.controllers.podendpoints import FactsOf, PodFacts
from controlplane.podaddresses import NodeNetwork
from controlplane.resources.indexes import NODE
from controlplane.store import Event, StoredObject, Tx
from pinnace import kinds
from pinnace.wellknown import LABEL_ZONE


class NodeFacts(NamedTuple):
    """`zone`: empty for a node without one."""

    zone: str
    network: NodeNetwork


class EndpointNodes:
    """Facts of nodes, each looked up once."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._known: dict[str, NodeFacts | None] = {}

    def zone(self, node: str) -> str | None:
        """Empty for a node without a zone; None for one that does not exist."""
        found = self._facts(node)
        return found.zone if found is not None else None

    def checked(self, pods: Iterable[PodFacts]) -> list[PodFacts]:
        """The pods, without the addresses that they cannot have. Those of a node that does not exist are kept: it was there
        when they were reported."""
        return [self._checked(pod) for pod in pods]

    def _checked(self, pod: PodFacts) -> PodFacts:
        found = self._facts(pod.node)
        if found is None or all(found.network.holds(item, host_network=pod.host_network) for item in pod.addresses):
            return pod
        kept = (item for item in pod.addresses if found.network.holds(item, host_network=pod.host_network))
        return pod._replace(addresses=tuple(kept))

    def _facts(self, node: str) -> NodeFacts | None:
        if node not in self._known:
            self._known[node] = _facts_of(self._tx.get_untracked(kinds.NODE, "", node))
        return self._known[node]


def _facts_of(row: StoredObject | None) -> NodeFacts | None:
    if row is None:
        return None
    node = row.message
    return NodeFacts(node.metadata.labels.get(LABEL_ZONE, ""), podaddresses.network_of(node))


def keys_of_node(event: Event, view: Tx, pods: FactsOf[PodFacts]) -> Iterable[str]:
    """Keys of the Services of a node's pods, when it comes, is deleted or changes its zone or addresses."""
    if _facts_of(event.old) == _facts_of(event.new):
        return ()
    found: dict[str, None] = {}
    for row in view.by_index(kinds.POD, NODE, event.row.key.rsplit("/", 1)[1]):
        found |= dict.fromkeys(podendpoints.selecting(view, row.key.split("/")[-2], pods(row).labels))
    return found
