"""Services: names, defaults, and rules between fields.

What depends on other Services or on the cluster's ranges is `controlplane.resources.serviceallocator`'s, which runs before
validation; so a healthCheckNodePort, say, is not required here.
Source: core/v1's SetDefaults_Service, validateService, ValidateServiceUpdate and ValidateServiceStatusUpdate, and
patchAllocatedValues and normalizeClusterIPs of registry/core/service.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pinnace import fielderrors, formats, services
from pinnace.admission import clusterips, meta
from pinnace.admission.endpoints import app_protocol, not_special, protocol
from pinnace.admission.kindrules import KindRules
from pinnace.admission.meta import each
from pinnace.core.v1.service_pb2 import LoadBalancerIngress, Service, ServicePort
from pinnace.errors import Cause
from pinnace.wellknown import ANNOTATION_SOURCE_RANGES, ANNOTATION_TOPOLOGY_HINTS, ANNOTATION_TOPOLOGY_MODE

# Seconds.
DEFAULT_AFFINITY, MAX_AFFINITY = 10_800, 86_400
TYPES = (services.CLUSTER_IP, services.EXTERNAL_NAME, services.LOAD_BALANCER, services.NODE_PORT)
# Types that have an address inside the cluster, and those that have ports of nodes.
INTERNAL = (services.CLUSTER_IP, services.NODE_PORT, services.LOAD_BALANCER)
EXTERNAL = (services.NODE_PORT, services.LOAD_BALANCER)
AFFINITIES = (services.CLIENT_IP, services.NONE)
POLICIES = (services.CLUSTER, services.LOCAL)
DISTRIBUTIONS = (services.PREFER_CLOSE, services.PREFER_SAME_NODE, services.PREFER_SAME_ZONE)
PROXY, VIP = "Proxy", "VIP"
_ONLY_LOAD_BALANCER = "may only be used when `type` is 'LoadBalancer'"
_ONLY_HEALTH_CHECK = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
_WITH_AFFINITY = "when session affinity type is ClientIP"


def is_external(item: Service) -> bool:
    """Whether traffic may come from outside of the cluster."""
    spec = item.spec
    return spec.type in EXTERNAL or (spec.type == services.CLUSTER_IP and len(spec.externalIPs) > 0)


def needs_health_check(item: Service) -> bool:
    """Whether load balancers are told at a port which nodes have pods of the Service."""
    return item.spec.type == services.LOAD_BALANCER and item.spec.externalTrafficPolicy == services.LOCAL


def prepare(item: Service, old: Service | None) -> None:
    """Keep what was given out and an update leaves out, and let clusterIP and clusterIPs agree."""
    clusterips.normalize(item, old)
    if old is None:
        return
    if old.spec.type in EXTERNAL and item.spec.type in EXTERNAL:
        _keep_node_ports(item, old)
    if needs_health_check(old) and needs_health_check(item) and not item.spec.healthCheckNodePort:
        item.spec.healthCheckNodePort = old.spec.healthCheckNodePort


def _keep_node_ports(item: Service, old: Service) -> None:
    """By the names of ports; one that is used for another port is not kept."""
    used = {port.nodePort for port in item.spec.ports}
    known = {port.name: port.nodePort for port in old.spec.ports}
    for port in item.spec.ports:
        if not port.nodePort and known.get(port.name) not in used:
            port.nodePort = known.get(port.name, 0)


def default(item: Service) -> None:
    spec = item.spec
    if spec.sessionAffinity == services.NONE:
        spec.ClearField("sessionAffinityConfig")
    elif spec.sessionAffinity == services.CLIENT_IP and not spec.sessionAffinityConfig.clientIP.HasField("timeoutSeconds"):
        spec.sessionAffinityConfig.clientIP.timeoutSeconds = DEFAULT_AFFINITY
    for port in spec.ports:
        if not port.targetPort.intVal and not port.targetPort.strVal:
            port.targetPort.type, port.targetPort.intVal = 0, port.port
    if is_external(item) and not spec.externalTrafficPolicy:
        spec.externalTrafficPolicy = services.CLUSTER
    if spec.type in INTERNAL and not spec.HasField("internalTrafficPolicy"):
        spec.internalTrafficPolicy = services.CLUSTER
    if spec.type == services.LOAD_BALANCER and not spec.HasField("allocateLoadBalancerNodePorts"):
        spec.allocateLoadBalancerNodePorts = True


def validate(item: Service) -> list[Cause]:
    spec, headless = item.spec, services.is_headless(item)
    errors = [*_type(item)]
    if not spec.ports and not headless and spec.type != services.EXTERNAL_NAME:
        errors.append(fielderrors.required("spec.ports"))
    errors += [*_ports(item), *meta.labels("spec.selector", spec.selector), *_affinity(item)]
    if spec.type != services.EXTERNAL_NAME:
        errors += clusterips.validate(item)
    for index, address in enumerate(spec.externalIPs):
        path = f"spec.externalIPs[{index}]"
        errors += [*each(path, address, formats.ip), *not_special(path, address)]
    return [*errors, *_load_balancer(item), *_policies(item)]


def _type(item: Service) -> Iterator[Cause]:
    spec = item.spec
    if spec.type not in TYPES:
        yield fielderrors.not_supported("spec.type", spec.type, TYPES)
    elif spec.type in EXTERNAL and services.is_headless(item):
        yield fielderrors.invalid("spec.clusterIPs[0]", services.NONE, f"may not be set to 'None' for {spec.type} services")
    elif spec.type == services.EXTERNAL_NAME:
        for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if getattr(spec, field):
                yield fielderrors.forbidden(f"spec.{field}", "may not be set for ExternalName services")
        name = spec.externalName.removesuffix(".")
        if not name:
            yield fielderrors.required("spec.externalName")
        yield from each("spec.externalName", name, formats.dns_subdomain) if name else ()


def _ports(item: Service) -> Iterator[Cause]:
    names: set[str] = set()
    ports: set[tuple[str, int]] = set()
    node_ports: set[tuple[str, int]] = set()
    for index, port in enumerate(item.spec.ports):
        path = f"spec.ports[{index}]"
        yield from _port(path, port, names, named=len(item.spec.ports) > 1)
        if item.spec.type == services.CLUSTER_IP and port.nodePort:
            yield fielderrors.forbidden(f"{path}.nodePort", "may not be used when `type` is 'ClusterIP'")
        if port.nodePort and (port.protocol, port.nodePort) in node_ports:
            yield fielderrors.duplicate(f"{path}.nodePort", port.nodePort)
        if (port.protocol, port.port) in ports:
            yield fielderrors.duplicate(path, {"protocol": port.protocol, "port": port.port})
        node_ports.add((port.protocol, port.nodePort))
        ports.add((port.protocol, port.port))


def _port(path: str, port: ServicePort, names: set[str], *, named: bool) -> Iterator[Cause]:
    if port.name:
        yield from each(f"{path}.name", port.name, formats.dns_label)
        if port.name in names:
            yield fielderrors.duplicate(f"{path}.name", port.name)
        names.add(port.name)
    elif named:
        yield fielderrors.required(f"{path}.name")
    yield from _number(f"{path}.port", port.port)
    if port.nodePort:
        yield from _number(f"{path}.nodePort", port.nodePort)
    yield from protocol(f"{path}.protocol", port.protocol)
    if port.targetPort.type:
        yield from each(f"{path}.targetPort", port.targetPort.strVal, formats.port_name)
    else:
        yield from _number(f"{path}.targetPort", port.targetPort.intVal)
    yield from app_protocol(f"{path}.appProtocol", port)


def _number(path: str, port: int) -> Iterator[Cause]:
    yield from (fielderrors.invalid(path, port, detail) for detail in formats.port_number(port))


def _affinity(item: Service) -> Iterator[Cause]:
    spec, path = item.spec, "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
    if spec.sessionAffinity not in AFFINITIES:
        yield fielderrors.not_supported("spec.sessionAffinity", spec.sessionAffinity, AFFINITIES)
    if spec.sessionAffinity != services.CLIENT_IP:
        return
    seconds = spec.sessionAffinityConfig.clientIP.timeoutSeconds
    if not 0 < seconds <= MAX_AFFINITY:
        yield fielderrors.invalid(path, seconds, f"must be greater than 0 and less than {MAX_AFFINITY}")


def _load_balancer(item: Service) -> Iterator[Cause]:
    spec = item.spec
    balanced = spec.type == services.LOAD_BALANCER
    if spec.loadBalancerSourceRanges:
        yield from _source_ranges("spec.LoadBalancerSourceRanges", spec.loadBalancerSourceRanges, balanced=balanced)
    elif ANNOTATION_SOURCE_RANGES in item.metadata.annotations:
        text = item.metadata.annotations[ANNOTATION_SOURCE_RANGES].strip()
        path = f"metadata.annotations[{ANNOTATION_SOURCE_RANGES}]"
        yield from _source_ranges(path, text.split(",") if text else [], balanced=balanced, indexed=False)
    if not balanced and spec.HasField("allocateLoadBalancerNodePorts"):
        yield fielderrors.forbidden("spec.allocateLoadBalancerNodePorts", _ONLY_LOAD_BALANCER)
    if spec.HasField("loadBalancerClass"):
        if balanced:
            yield from each("spec.loadBalancerClass", spec.loadBalancerClass, formats.qualified_name)
        else:
            yield fielderrors.forbidden("spec.loadBalancerClass", _ONLY_LOAD_BALANCER)
    if spec.loadBalancerIP:
        yield from each("spec.loadBalancerIP", spec.loadBalancerIP, formats.ip)


def _source_ranges(path: str, found: Sequence[str], *, balanced: bool, indexed: bool = True) -> Iterator[Cause]:
    if not balanced:
        yield fielderrors.forbidden(path, _ONLY_LOAD_BALANCER)
    for index, text in enumerate(found):
        yield from each(f"{path}[{index}]" if indexed else path, text.strip(), formats.network)


def _policies(item: Service) -> Iterator[Cause]:
    spec = item.spec
    external, path = spec.externalTrafficPolicy, "spec.externalTrafficPolicy"
    if external and not is_external(item):
        yield fielderrors.invalid(path, external, "may only be set for externally-accessible services")
    elif external and external not in POLICIES:
        yield fielderrors.not_supported(path, external, POLICIES)
    if spec.healthCheckNodePort and not needs_health_check(item):
        yield fielderrors.invalid("spec.healthCheckNodePort", spec.healthCheckNodePort, _ONLY_HEALTH_CHECK)
    elif spec.healthCheckNodePort:
        yield from _number("spec.healthCheckNodePort", spec.healthCheckNodePort)
    if spec.HasField("internalTrafficPolicy") and spec.internalTrafficPolicy not in POLICIES:
        yield fielderrors.not_supported("spec.internalTrafficPolicy", spec.internalTrafficPolicy, POLICIES)
    if spec.HasField("trafficDistribution") and spec.trafficDistribution not in DISTRIBUTIONS:
        yield fielderrors.not_supported("spec.trafficDistribution", spec.trafficDistribution, DISTRIBUTIONS)


def validate_create(item: Service) -> list[Cause]:
    """The annotation of the topology mode and its predecessor agree."""
    mode, hints = _topology(item)
    if mode is None or hints is None or mode == hints:
        return []
    text = f"must match annotations[{ANNOTATION_TOPOLOGY_HINTS}] when both are specified"
    return [fielderrors.invalid(f"metadata.annotations[{ANNOTATION_TOPOLOGY_MODE}]", mode, text)]


def _topology(item: Service) -> tuple[str | None, str | None]:
    found = item.metadata.annotations
    return found.get(ANNOTATION_TOPOLOGY_MODE), found.get(ANNOTATION_TOPOLOGY_HINTS)


def validate_update(old: Service, new: Service) -> list[Cause]:
    errors = clusterips.validate_update(old, new)
    # Stored Services may have annotations that earlier releases accepted; they can be changed and deleted.
    if _topology(old) != _topology(new):
        errors += validate_create(new)
    both = old.spec.type == new.spec.type == services.LOAD_BALANCER
    if both and _class_of(old) != _class_of(new):
        errors.append(fielderrors.invalid("spec.loadBalancerClass", _class_of(new), "may not change once set"))
    if needs_health_check(old) and needs_health_check(new) and old.spec.healthCheckNodePort != new.spec.healthCheckNodePort:
        errors.append(fielderrors.forbidden("spec.healthCheckNodePort", "field is immutable"))
    return errors


def _class_of(item: Service) -> str | None:
    return item.spec.loadBalancerClass if item.spec.HasField("loadBalancerClass") else None


def validate_status(new: Service, _: Service) -> list[Cause]:
    ingress = new.status.loadBalancer.ingress
    if ingress and new.spec.type != services.LOAD_BALANCER:
        text = "may only be used when `spec.type` is 'LoadBalancer'"
        return [fielderrors.forbidden("status.loadBalancer.ingress", text)]
    return [cause for index, item in enumerate(ingress) for cause in _ingress(f"status.loadBalancer.ingress[{index}]", item)]


def _ingress(path: str, item: LoadBalancerIngress) -> Iterator[Cause]:
    if item.ip:
        yield from each(f"{path}.ip", item.ip, formats.ip)
    if item.HasField("ipMode") and not item.ip:
        yield fielderrors.forbidden(f"{path}.ipMode", "may not be specified when `ip` is not set")
    elif item.HasField("ipMode") and item.ipMode not in (PROXY, VIP):
        yield fielderrors.not_supported(f"{path}.ipMode", item.ipMode, (PROXY, VIP))
    if item.hostname:
        yield from each(f"{path}.hostname", item.hostname, formats.dns_subdomain)
        if not formats.ip(item.hostname):
            yield fielderrors.invalid(f"{path}.hostname", item.hostname, "must be a DNS name, not an IP address")


RULES: KindRules[Service] = KindRules(
    prepare=prepare, default=default, validate=validate, validate_create=validate_create, validate_update=validate_update,
    validate_status=validate_status, name=formats.dns_label,
)  # fmt: skip
