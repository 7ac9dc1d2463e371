"""EndpointSlices as the plan for them sees them, and back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controlplane.controllers.podendpoints import PodFacts, addresses_of, hostname_of, port_number
from controlplane.controllers.sliceplan import Endpoint, Port, Ports
from pinnace import kinds, services
from pinnace.core.v1.service_pb2 import Service
from pinnace.discovery.v1 import endpointslice_pb2
from pinnace.discovery.v1.endpointslice_pb2 import EndpointSlice
from pinnace.wellknown import LABEL_HEADLESS, LABEL_SERVICE_NAME, LABEL_SLICE_MANAGED_BY

MANAGED_BY = "endpointslice-controller.k8s.io"
_RESERVED = (LABEL_SERVICE_NAME, LABEL_SLICE_MANAGED_BY, LABEL_HEADLESS)


def families_of(service: Service) -> tuple[str, ...]:
    """The address families of a Service's slices; IPv4 where nothing says otherwise."""
    return tuple(service.spec.ipFamilies) or (services.family_of(service.spec.clusterIP),)


def labels_of(service: Service) -> dict[str, str]:
    """The labels of a Service's slices: its own ones and those that are reserved."""
    found = {key: value for key, value in service.metadata.labels.items() if key not in _RESERVED}
    if not services.cluster_ips(service):
        found[LABEL_HEADLESS] = ""
    return {**found, LABEL_SERVICE_NAME: service.metadata.name, LABEL_SLICE_MANAGED_BY: MANAGED_BY}


def is_owned(item: EndpointSlice, uid: str) -> bool:
    """Whether a slice is that of the Service with this uid, not of an earlier one of its name."""
    return any(owner.uid == uid and owner.kind == kinds.SERVICE.kind for owner in item.metadata.ownerReferences)


class PortsOf:
    """The ports of a Service in its pods, worked out once where none is looked up by name."""

    def __init__(self, service: Service) -> None:
        self._service = service
        named = any(port.targetPort.type for port in service.spec.ports)
        self._fixed = None if named else ports_in(service, None)

    def __call__(self, pod: PodFacts) -> Ports:
        return self._fixed if self._fixed is not None else ports_in(self._service, pod)


def ports_in(service: Service, pod: PodFacts | None) -> Ports:
    """The Service's ports in a pod; those whose name no container has are left out."""
    found = ((port, port_number(port, pod)) for port in service.spec.ports)
    return tuple(
        Port(port.name, port.protocol, number, port.appProtocol if port.HasField("appProtocol") else None)
        for port, number in found
        if number is not None
    )


def endpoint_of(service: Service, pod: PodFacts, family: str, zone: str) -> Endpoint | None:
    """A pod as an endpoint; None for one without an address of the family.

    `ready` is true of a pod that terminates only if the Service publishes pods that are not ready."""
    addresses = addresses_of(pod, family)
    if not addresses:
        return None
    ready = service.spec.publishNotReadyAddresses or (pod.ready and not pod.terminating)
    zones, nodes = _hints(service, zone, pod.node) if ready else ((), ())
    return Endpoint(
        pod.name, pod.uid, addresses, ready, pod.ready, pod.terminating, pod.node, zone, hostname_of(pod, service), zones, nodes
    )  # fmt: skip


def _hints(service: Service, zone: str, node: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Zones and nodes whose clients should use an endpoint. Source: k8s.io/endpointslice/trafficdist."""
    wanted = service.spec.trafficDistribution
    if wanted not in (services.PREFER_CLOSE, services.PREFER_SAME_ZONE, services.PREFER_SAME_NODE):
        return (), ()
    return (zone,) if zone else (), (node,) if node and wanted == services.PREFER_SAME_NODE else ()


def read_ports(item: EndpointSlice) -> Ports:
    return tuple(
        Port(port.name, port.protocol, port.port, port.appProtocol if port.HasField("appProtocol") else None)
        for port in item.ports
    )


def read_endpoints(item: EndpointSlice) -> tuple[Endpoint | None, ...]:
    return tuple(_read(item.metadata.namespace, endpoint) for endpoint in item.endpoints)


def _read(namespace: str, item: endpointslice_pb2.Endpoint) -> Endpoint | None:
    target, conditions = item.targetRef, item.conditions
    if target.kind != kinds.POD.kind or target.namespace != namespace:
        return None
    if not all(conditions.HasField(name) for name in ("ready", "serving", "terminating")):
        return None
    return Endpoint(
        target.name, target.uid, tuple(item.addresses), conditions.ready, conditions.serving, conditions.terminating,
        item.nodeName, item.zone, item.hostname, tuple(zone.name for zone in item.hints.forZones),
        tuple(node.name for node in item.hints.forNodes),
    )  # fmt: skip


def write(item: EndpointSlice, ports: Ports, endpoints: Iterable[Endpoint], labels: Mapping[str, str]) -> None:
    """Give a slice its content. An endpoint that stays as it is keeps fields that are not in the plan."""
    before = dict(zip(read_endpoints(item), item.endpoints, strict=True))
    written = [before.get(endpoint) or _message(item.metadata.namespace, endpoint) for endpoint in endpoints]
    fresh = EndpointSlice(endpoints=written)
    item.ClearField("endpoints")
    item.endpoints.extend(fresh.endpoints)
    if read_ports(item) != ports:
        item.ClearField("ports")
        for port in ports:
            entry = item.ports.add(name=port.name, protocol=port.protocol, port=port.number)
            if port.app_protocol is not None:
                entry.appProtocol = port.app_protocol
    if item.metadata.labels != labels:
        item.metadata.labels.clear()
        item.metadata.labels.update(labels)


def _message(namespace: str, endpoint: Endpoint) -> endpointslice_pb2.Endpoint:
    made = endpointslice_pb2.Endpoint(addresses=endpoint.addresses)
    made.conditions.ready, made.conditions.serving = endpoint.ready, endpoint.serving
    made.conditions.terminating = endpoint.terminating
    made.targetRef.kind, made.targetRef.namespace = kinds.POD.kind, namespace
    made.targetRef.name, made.targetRef.uid = endpoint.target, endpoint.uid
    for name, value in (("nodeName", endpoint.node), ("zone", endpoint.zone), ("hostname", endpoint.hostname)):
        if value:
            setattr(made, name, value)
    for zone in endpoint.zones:
        made.hints.forZones.add(name=zone)
    for node in endpoint.nodes:
        made.hints.forNodes.add(name=node)
    return made
