"""Services and EndpointSlices of the assignment, as the resolver's process gets them. Pure."""

from __future__ import annotations

from typing import Any

from nodeagent.dns import records
from nodeagent.dns.records import Endpoint, Port, Service, Slice
from pinnace import kinds, wellknown

KINDS = (kinds.SERVICE.kind, kinds.ENDPOINT_SLICE.kind, kinds.NAMESPACE.kind)
_HEADLESS, _EXTERNAL = "None", "ExternalName"
# Of a Service, as nodes lead connections to; a Service may have any number.
MAX_PORTS = 256


def line_of(key: str, item: Any | None) -> dict[str, Any]:
    """What the resolver is told of one object; None: it is gone, or has no name."""
    if item is None:
        return {"delete": key}
    if key.startswith(f"{records.NAMESPACE}/"):
        return {"set": key}
    found = service_of(item) if key.startswith(f"{records.SERVICE}/") else slice_of(item)
    return {"delete": key} if found is None else {"set": key, "object": records.to_json(found)}


def service_of(service: Any) -> Service:
    meta, spec = service.metadata, service.spec
    ports = tuple(Port(item.name, (item.protocol or "TCP").lower(), item.port) for item in spec.ports[:MAX_PORTS])
    if spec.type == _EXTERNAL:
        return Service(meta.namespace, meta.name, external=spec.externalName)
    headless = spec.clusterIP == _HEADLESS
    addresses = () if headless else tuple(spec.clusterIPs) or ((spec.clusterIP,) if spec.clusterIP else ())
    return Service(meta.namespace, meta.name, addresses, ports, headless=headless)


def slice_of(item: Any) -> Slice | None:
    """With the endpoints that are ready; unknown counts as ready, as in Kubernetes. None without the label of a Service."""
    meta = item.metadata
    service = meta.labels.get(wellknown.LABEL_SERVICE_NAME, "")
    if not service or item.addressType not in ("IPv4", "IPv6"):
        return None
    ready = [one for one in item.endpoints if not one.conditions.HasField("ready") or one.conditions.ready]
    ends = tuple(Endpoint(address, one.hostname) for one in ready for address in one.addresses[:1])
    ports = tuple(Port(port.name, (port.protocol or "TCP").lower(), port.port) for port in item.ports if port.port)
    return Slice(meta.namespace, meta.name, service, ends, ports)
