"""Services, Endpoints and EndpointSlices as kubectl describes them: lines whose cells end with tabs (`tabbed`).

Source: describeService, describeEndpoints and describeEndpointSliceV1 of kubectl's pkg/describe.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cli.describing.endpoints import of_slices
from cli.describing.templates import NONE, annotation_lines, pairs
from pinnace import kinds
from pinnace.kinds import Kind
from pinnace.wellknown import LABEL_SERVICE_NAME

_UNSET = "<unset>"


def service(client: Any, kind: Kind, item: Any) -> list[str]:
    """Raises ApiError."""
    spec, meta = item.spec, item.metadata
    slices = client.list(kinds.ENDPOINT_SLICE, meta.namespace, labels=f"{LABEL_SERVICE_NAME}={meta.name}")
    selector = ",".join(f"{key}={value}" for key, value in sorted(spec.selector.items()))
    optional = [
        ("External IPs", ",".join(spec.externalIPs)), ("Desired LoadBalancer IP", spec.loadBalancerIP),
        ("External Name", spec.externalName), ("LoadBalancer Ingress", _ingress(item.status.loadBalancer.ingress)),
    ]  # fmt: skip
    return [
        *_head(meta), f"Selector:\t{selector or NONE}", f"Type:\t{spec.type}",
        *_given([("IP Family Policy", spec.ipFamilyPolicy)]), f"IP Families:\t{','.join(spec.ipFamilies) or NONE}",
        f"IP:\t{spec.clusterIP}", f"IPs:\t{','.join(spec.clusterIPs) or NONE}", *_given(optional),
        *(line for port in spec.ports for line in _port(port, slices)), f"Session Affinity:\t{spec.sessionAffinity}",
        *_given(_policies(spec)),
    ]  # fmt: skip


def _head(meta: Any) -> list[str]:
    marks = [*pairs("Labels", meta.labels), *annotation_lines("Annotations", meta.annotations)]
    return [f"Name:\t{meta.name}", f"Namespace:\t{meta.namespace}", *marks]


def _given(lines: Iterable[tuple[str, Any]]) -> list[str]:
    return [f"{title}:\t{text}" for title, text in lines if text]


def _ingress(items: Any) -> str:
    return ", ".join(f"{item.ip} ({item.ipMode})" if item.ip and item.ipMode else item.ip or item.hostname for item in items)


def _policies(spec: Any) -> list[tuple[str, Any]]:
    return [
        ("External Traffic Policy", spec.externalTrafficPolicy), ("Internal Traffic Policy", spec.internalTrafficPolicy),
        ("HealthCheck NodePort", spec.healthCheckNodePort),
        ("LoadBalancer Source Ranges", ",".join(spec.loadBalancerSourceRanges)),
        ("Traffic Distribution", spec.trafficDistribution),
    ]  # fmt: skip


def _port(port: Any, slices: Sequence[Any]) -> Iterator[str]:
    name, target = port.name or _UNSET, port.targetPort
    yield f"Port:\t{name}\t{port.port}/{port.protocol}"
    yield f"TargetPort:\t{target.strVal if target.type else target.intVal}/{port.protocol}"
    if port.HasField("appProtocol"):
        yield f"AppProtocol:\t{port.appProtocol}"
    if port.nodePort:
        yield f"NodePort:\t{name}\t{port.nodePort}/{port.protocol}"
    yield f"Endpoints:\t{of_slices(slices, port.name)}"


def endpoints(client: Any, kind: Kind, item: Any) -> list[str]:
    return [*_head(item.metadata), "Subsets:", *(line for subset in item.subsets for line in _subset(subset))]


def _subset(subset: Any) -> Iterator[str]:
    for title, addresses in (("Addresses", subset.addresses), ("NotReadyAddresses", subset.notReadyAddresses)):
        yield f"  {title}:\t{','.join(address.ip for address in addresses) or NONE}"
    if subset.ports:
        yield from ("  Ports:", "    Name\tPort\tProtocol", "    ----\t----\t--------")
    yield from (f"    {port.name or _UNSET}\t{port.port}\t{port.protocol}" for port in subset.ports)
    yield ""


def endpoint_slice(client: Any, kind: Kind, item: Any) -> list[str]:
    ports = [f"  {port.name or _UNSET}\t{port.port or _UNSET}\t{port.protocol}" for port in item.ports]
    table = ["Ports:", "  Name\tPort\tProtocol", "  ----\t----\t--------", *ports] if ports else [f"Ports: {_UNSET}"]
    found = [line for endpoint in item.endpoints for line in _endpoint(endpoint)]
    shown = ["Endpoints:", *found] if found else [f"Endpoints: {NONE}"]
    return [*_head(item.metadata), f"AddressType:\t{item.addressType}", *table, *shown]


def _endpoint(endpoint: Any) -> Iterator[str]:
    ready = str(endpoint.conditions.ready).lower() if endpoint.conditions.HasField("ready") else _UNSET
    yield f"  - Addresses:\t{', '.join(endpoint.addresses) or NONE}"
    yield "    Conditions:"
    yield f"      Ready:\t{ready}"
    yield f"    Hostname:\t{_or_unset(endpoint, 'hostname')}"
    if endpoint.HasField("targetRef"):
        yield f"    TargetRef:\t{endpoint.targetRef.kind}/{endpoint.targetRef.name}"
    yield f"    NodeName:\t{_or_unset(endpoint, 'nodeName')}"
    yield f"    Zone:\t{_or_unset(endpoint, 'zone')}"


def _or_unset(endpoint: Any, field: str) -> str:
    return str(getattr(endpoint, field)) if endpoint.HasField(field) else _UNSET
