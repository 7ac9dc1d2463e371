"""Warnings of Services, EndpointSlices and Endpoints that are accepted: fields without effect, and unusual forms of addresses.

Source: GetWarningsForService of pkg/api/service, GetWarningsForIP and GetWarningsForCIDR of apimachinery's util/validation, and
the strategies of registry/core/endpoint and registry/discovery/endpointslice.
"""

from __future__ import annotations

from collections.abc import Iterator

from pinnace import formats, services
from pinnace.core.v1.endpoints_pb2 import Endpoints
from pinnace.core.v1.service_pb2 import Service
from pinnace.discovery.v1.endpointslice_pb2 import EndpointSlice
from pinnace.wellknown import ANNOTATION_TOPOLOGY_HINTS, ANNOTATION_TOPOLOGY_MODE, LABEL_SLICE_MANAGED_BY

# Controllers that write addresses in their usual form.
_CANONICAL = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")
_DEPRECATED = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"


def of_service(item: Service) -> list[str]:
    first = [*_annotation(item), *_cluster_ips(item), *_headless(item)]
    return [*first, *_external_ips(item), *_load_balancer(item), *_other(item)]


def of_slice(item: EndpointSlice, *, new: bool) -> list[str]:
    found = ["spec.addressType: FQDN endpoints are deprecated"] if new and item.addressType == services.FQDN else []
    if item.metadata.labels.get(LABEL_SLICE_MANAGED_BY) in _CANONICAL or item.addressType != services.IPV6:
        return found
    for index, endpoint in enumerate(item.endpoints):
        for position, address in enumerate(endpoint.addresses):
            found += _address(f"endpoints[{index}].addresses[{position}]", address)
    return found


def of_endpoints(item: Endpoints) -> list[str]:
    found = [_DEPRECATED]
    for index, subset in enumerate(item.subsets):
        for field in ("addresses", "notReadyAddresses"):
            for position, address in enumerate(getattr(subset, field)):
                found += _address(f"subsets[{index}].{field}[{position}].ip", address.ip)
    return found


def _address(path: str, text: str) -> Iterator[str]:
    if ":" in text and (usual := formats.usual_ip(text)) != text:
        yield f'{path}: IPv6 address "{text}" should be in RFC 5952 canonical format ("{usual}")'


def _annotation(item: Service) -> Iterator[str]:
    if ANNOTATION_TOPOLOGY_HINTS in item.metadata.annotations:
        yield f"annotation {ANNOTATION_TOPOLOGY_HINTS} is deprecated, please use {ANNOTATION_TOPOLOGY_MODE} instead"


def _cluster_ips(item: Service) -> Iterator[str]:
    for index, address in enumerate(services.cluster_ips(item)):
        yield from _address(f"spec.clusterIPs[{index}]", address)


def _headless(item: Service) -> Iterator[str]:
    spec = item.spec
    if not _is_headless(item):
        return
    fields = {"loadBalancerIP": spec.loadBalancerIP, "externalIPs": spec.externalIPs}
    if spec.sessionAffinity != services.NONE:
        fields["SessionAffinity"] = spec.sessionAffinity
    yield from (f"spec.{name} is ignored for headless services" for name, value in fields.items() if value)


def _is_headless(item: Service) -> bool:
    return item.spec.type == services.CLUSTER_IP and services.is_headless(item)


def _external_ips(item: Service) -> Iterator[str]:
    for index, address in enumerate(item.spec.externalIPs):
        yield from _address(f"spec.externalIPs[{index}]", address)
    if item.spec.externalIPs and not _is_headless(item) and item.spec.type != services.EXTERNAL_NAME:
        yield "spec.externalIPs is deprecated and may no longer be implemented in some clusters"


def _load_balancer(item: Service) -> Iterator[str]:
    spec = item.spec
    yield from _address("spec.loadBalancerIP", spec.loadBalancerIP)
    for index, padded in enumerate(spec.loadBalancerSourceRanges):
        text = padded.strip()
        if (usual := formats.usual_network(text)) != text:
            path = f"spec.loadBalancerSourceRanges[{index}]"
            yield f'{path}: IPv6 CIDR value "{text}" should be in RFC 5952 canonical format ("{usual}")'


def _other(item: Service) -> Iterator[str]:
    spec, alias = item.spec, item.spec.type == services.EXTERNAL_NAME
    if alias and spec.externalIPs:
        yield f'spec.externalIPs is ignored when spec.type is "{services.EXTERNAL_NAME}"'
    if not alias and spec.externalName:
        yield f'spec.externalName is ignored when spec.type is not "{services.EXTERNAL_NAME}"'
    if spec.trafficDistribution == services.PREFER_CLOSE:
        yield (f'spec.trafficDistribution: "{services.PREFER_CLOSE}" is deprecated; use "{services.PREFER_SAME_ZONE}"')
