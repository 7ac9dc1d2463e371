"""Reports Services whose addresses or node ports lie outside of the ranges, and restores claims that are missing. Root kind:
Service.

The ranges are flags, which may change: a Service keeps what it has, and an event reports it. A claim may be missing after a
part of the store was restored. Services are checked when the control plane begins to lead, and when what they have changes.
Source: the repair controllers of ipallocator and portallocator in registry/core/service, for reasons and messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from controlplane import events
from controlplane.controllers.runner import Moment, Requeue
from controlplane.resources import serviceallocator
from controlplane.resources.serviceallocator import claims_of, holder_of, is_taken
from controlplane.serviceranges import ServiceRanges
from controlplane.store import Event, Tx
from pinnace import kinds, services
from pinnace.core.v1.service_pb2 import Service
from pinnace.kinds import Kind

ADDRESS_SOURCE, PORT_SOURCE = "ipallocator-repair-controller", "portallocator-repair-controller"
_AGAIN = "please recreate service"


class _Finding(NamedTuple):
    source: str
    reason: str
    message: str


class ServiceRangeChecks:
    name = "service-ranges"
    watches: tuple[Kind, ...] = (kinds.SERVICE,)

    def __init__(self, ranges: ServiceRanges) -> None:
        self._ranges = ranges

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        if event.new is None or (event.old is not None and claims_of(event.old.message) == claims_of(event.new.message)):
            return ()
        return (event.row.key.removeprefix(kinds.SERVICE.prefix),)

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace, _, name = key.partition("/")
        service = tx.get(kinds.SERVICE, namespace, name)
        if service is None:
            return None
        for finding in (*_unclaimed(tx, service, now.wall), *self._outside(service)):
            events.record(
                tx, service, finding.reason, finding.message, source=finding.source, now=now.wall, warning=True
            )  # fmt: skip
        return None

    def _outside(self, service: Service) -> Iterator[_Finding]:
        for address in services.cluster_ips(service):
            family = services.family_of(address)
            found = self._ranges.of(family)
            if found is None or not found.holds(address):
                text = f"Cluster IP [{family}]:{address} is not within any configured Service CIDR; {_AGAIN}"
                yield _Finding(ADDRESS_SOURCE, "ClusterIPOutOfRange", text)
        for port in _ports(service):
            if not self._ranges.ports.holds(port):
                text = f"Port {port} is not within the port range {self._ranges.ports}; {_AGAIN}"
                yield _Finding(PORT_SOURCE, "PortOutOfRange", text)


def _ports(service: Service) -> list[int]:
    return sorted(({port.nodePort for port in service.spec.ports} | {service.spec.healthCheckNodePort}) - {0})


def _unclaimed(tx: Tx, service: Service, now: float) -> Iterator[_Finding]:
    """What another Service has too. What no Service has claimed is claimed."""
    for name in sorted(claims_of(service)):
        found = tx.get(kinds.SERVICE_CLAIM, "", name)
        if found is not None and found.spec.holderIdentity == holder_of(service):
            continue
        if not is_taken(tx, service, name):
            serviceallocator.claim(tx, service, name, now=now)
        elif name.startswith("port-"):
            text = f"Port {name.removeprefix('port-')} was assigned to multiple services; {_AGAIN}"
            yield _Finding(PORT_SOURCE, "PortAlreadyAllocated", text)
        else:
            text = f"Cluster IP [{services.family_of(name)}]:{name} was assigned to multiple services; {_AGAIN}"
            yield _Finding(ADDRESS_SOURCE, "ClusterIPAlreadyAllocated", text)
