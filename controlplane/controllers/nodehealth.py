"""What the node lifecycle controller has observed of nodes: when their leases changed, and which zones have failed.

Times are watched time (`watchedtime`). The renewTime in a lease is not read: it is another machine's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from controlplane import conditions
from controlplane.controllers.disruption import EvictionRates, Zones
from pinnace.core.v1.node_pb2 import Node
from pinnace.wellknown import LABEL_REGION, LABEL_ZONE

# Seconds for which a computation of the zones is used again: it visits all nodes.
_FRESH = 1.0


@dataclass(slots=True)
class _Observed:
    """`since`: when `version` of the lease was first seen, or the node, if that was later."""

    since: float
    version: int = 0
    zone: str = ""
    ready: bool = False


class NodeHealth:
    def __init__(self, grace: float, rates: EvictionRates) -> None:
        """`grace`: seconds without a change of its lease until a node counts as lost."""
        self._grace = grace
        self._rates = rates
        self._nodes: dict[str, _Observed] = {}
        # Leases of nodes that were not seen yet, or no longer.
        self._leases: dict[str, tuple[int, float]] = {}
        self._zones: tuple[float, Zones] | None = None

    def note_node(self, node: Node, watched: float, *, anew: bool) -> None:
        """`anew`: first seen, or seen again after a gap in the watch."""
        name = node.metadata.name
        known = self._nodes.get(name)
        if known is None or anew:
            version, _ = self._leases.get(name, (0, 0.0))
            known = self._nodes[name] = _Observed(watched, version)
        ready = conditions.find(node.status, "Ready")
        known.zone, known.ready = zone_of(node), ready is not None and ready.status == "True"

    def note_lease(self, name: str, version: int, watched: float, *, anew: bool = False) -> None:
        """The lease of node `name` has this version."""
        known = self._nodes.get(name)
        if known is None:
            self._leases[name] = (version, watched)
        elif anew or version > known.version:
            known.version, known.since = version, watched

    def forget(self, name: str) -> None:
        self._nodes.pop(name, None)
        self._leases.pop(name, None)

    def lateness(self, name: str, watched: float) -> float:
        """Seconds since the node's lease changed."""
        known = self._nodes.get(name)
        return watched - known.since if known else 0.0

    def zones(self, watched: float, renewed: Callable[[], Iterable[tuple[str, int]]] = tuple) -> Zones:
        """`renewed`: nodes with the versions of their leases, which may be ahead of the watch.

        A node that is late by half the grace period counts as failed: nodes that fall silent together are found late one by
        one, and the first of them must not be taken for the only one."""
        if self._zones is None or not 0 <= watched - self._zones[0] < _FRESH:
            for name, version in renewed():
                self.note_lease(name, version, watched)
            nodes = ((known.zone, known.ready and watched - known.since <= self._grace / 2) for known in self._nodes.values())
            self._zones = (watched, Zones(nodes, self._rates))
        return self._zones[1]


def zone_of(node: Node) -> str:
    """Region and zone, as a name; empty for a node without either."""
    labels = node.metadata.labels
    region, zone = labels.get(LABEL_REGION, ""), labels.get(LABEL_ZONE, "")
    return f"{region}:{zone}" if region or zone else ""
