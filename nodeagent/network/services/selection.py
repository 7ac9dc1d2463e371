"""Which endpoints of a port get new connections: by readiness, traffic policy and hints, as kube-proxy chooses them. Pure.

Source: kubernetes/kubernetes, pkg/proxy/topology.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nodeagent.network.services.model import Endpoint, Facts, ServiceInfo, Target


@dataclass(frozen=True, slots=True)
class Selection:
    """`cluster`: for traffic with policy Cluster, and that of this node's pods and processes to external addresses with policy
    Local; `local`: with policy Local. `exist`: any endpoint of the cluster could be used, so an empty one of these drops
    packets instead of rejecting them."""

    cluster: tuple[Target, ...] = ()
    local: tuple[Target, ...] = ()
    exist: bool = False


def select(endpoints: Iterable[Endpoint], service: ServiceInfo, facts: Facts) -> Selection:
    usable = [item for item in endpoints if item.ready or _ending(item)]
    uses_local = service.internal_local or service.external_local
    ours = [item for item in usable if item.node == facts.name]
    return Selection(
        cluster=_targets(_hinted(usable, facts), usable),
        local=_targets([item for item in ours if item.ready], ours) if uses_local else (),
        exist=bool(usable),
    )


def _ending(item: Endpoint) -> bool:
    return item.serving and item.terminating


def _targets(ready: list[Endpoint], others: list[Endpoint]) -> tuple[Target, ...]:
    """Those that are ready; without any, those that serve while they terminate."""
    return tuple(item.target for item in ready or [item for item in others if _ending(item)])


def _hinted(usable: list[Endpoint], facts: Facts) -> list[Endpoint]:
    """The ready ones that are for this node, if all have a hint of nodes; else those for its zone, if all have one of zones."""
    ready = [item for item in usable if item.ready]
    for ours, hints in ((facts.name, [item.nodes for item in ready]), (facts.zone, [item.zones for item in ready])):
        chosen = [item for item, names in zip(ready, hints, strict=True) if ours and ours in names]
        if chosen and all(hints):
            return chosen
    return ready


def ready_here(endpoints: Iterable[Endpoint], facts: Facts) -> set[str]:
    """Addresses of the ready ones on this node, for health checks of load balancers."""
    return {item.target.address for item in endpoints if item.ready and item.node == facts.name}
