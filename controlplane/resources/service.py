"""Services: what a change of type drops, their quotas and their table. `serviceallocator` has their addresses.

Source: dropTypeDependentFields of registry/core/service, kube-controller-manager's quota evaluator of services, printService of
Kubernetes' printers, and AddFieldLabelConversionsForService.
"""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.resources.columns import AGE, NAME, NONE, Cell, Column, Columns, age, labels_text, wide
from controlplane.resources.resource import PROXIED, Resource, Strategy, Stream, Subresource, Usage
from controlplane.resources.serviceallocator import release
from pinnace import formats, kinds, services
from pinnace.admission import services as rules
from pinnace.admission import servicewarnings
from pinnace.core.v1.service_pb2 import Service

# The index of Services by `namespace/key=value` of the first label of their selector, which a selected pod has.
BY_SELECTOR = "selector"
# The index of Services of type LoadBalancer by each of their addresses; those without a class of their own also under EVERY,
# while they have no address under PENDING, and with one of two families, if they prefer both, under PARTIAL.
BY_LOAD_BALANCER, EVERY, PENDING, PARTIAL = "loadBalancer", "*", "pending", "partial"
# What quotas bound, besides the number of Services.
_NODE_PORTS, _LOAD_BALANCERS = "services.nodeports", "services.loadbalancers"


def _by_selector(item: Service) -> Sequence[str]:
    first = min(item.spec.selector.items(), default=None)
    if first is None or item.spec.type == services.EXTERNAL_NAME:
        return ()
    return (f"{item.metadata.namespace}/{first[0]}={first[1]}",)


class _Strategy(Strategy[Service]):
    quota_resources = frozenset({_NODE_PORTS, _LOAD_BALANCERS})
    updates_use_quota = True

    def prepare_for_create(self, new: Service) -> None:
        # Clients expect the field to be there.
        new.status.loadBalancer.SetInParent()

    def prepare_for_update(self, new: Service, old: Service) -> None:
        """Drop what the new type does not have, if the client has not changed it too; validation refuses that."""
        if old.spec.type != services.EXTERNAL_NAME and new.spec.type == services.EXTERNAL_NAME:
            _drop_addresses(new, old)
        if old.spec.type in rules.EXTERNAL and new.spec.type not in rules.EXTERNAL:
            _drop_node_ports(new, old)
        if rules.needs_health_check(old) and not rules.needs_health_check(new):
            _drop(new, old, "healthCheckNodePort")
        if old.spec.type == services.LOAD_BALANCER != new.spec.type:
            _drop(new, old, "allocateLoadBalancerNodePorts")
            _drop(new, old, "loadBalancerClass")
        if rules.is_external(old) and not rules.is_external(new):
            _drop(new, old, "externalTrafficPolicy")
        if new.spec.type != services.LOAD_BALANCER:
            new.status.loadBalancer.Clear()
            new.status.loadBalancer.SetInParent()

    def warnings(self, new: Service, old: Service | None) -> list[str]:
        return servicewarnings.of_service(new)

    def quota_usage(self, item: Service, now: float) -> Usage:
        ports = len(item.spec.ports) if item.spec.type in rules.EXTERNAL else 0
        if item.spec.type == services.LOAD_BALANCER and not item.spec.allocateLoadBalancerNodePorts:
            ports = sum(1 for port in item.spec.ports if port.nodePort)
        return {_NODE_PORTS: ports, _LOAD_BALANCERS: int(item.spec.type == services.LOAD_BALANCER)}


def _drop(new: Service, old: Service, field: str) -> None:
    if getattr(new.spec, field) == getattr(old.spec, field):
        new.spec.ClearField(field)


def _drop_addresses(new: Service, old: Service) -> None:
    if new.spec.clusterIP == old.spec.clusterIP and list(new.spec.clusterIPs) == list(old.spec.clusterIPs):
        new.spec.ClearField("clusterIP")
        new.spec.ClearField("clusterIPs")
    if list(new.spec.ipFamilies) == list(old.spec.ipFamilies):
        new.spec.ClearField("ipFamilies")
    _drop(new, old, "ipFamilyPolicy")


def _drop_node_ports(new: Service, old: Service) -> None:
    before = {port.nodePort for port in old.spec.ports} | {0}
    if before.issuperset(port.nodePort for port in new.spec.ports):
        for port in new.spec.ports:
            port.ClearField("nodePort")


class _Status(Subresource[Service]):
    def replace(self, stored: Service, request: Service) -> None:
        super().replace(stored, request)
        stored.status.loadBalancer.SetInParent()
        for ingress in stored.status.loadBalancer.ingress:
            if ingress.ip and not ingress.HasField("ipMode"):
                ingress.ipMode = rules.VIP


def _by_load_balancer(item: Service) -> Sequence[str]:
    if item.spec.type != services.LOAD_BALANCER:
        return ()
    addresses = [formats.usual_ip(entry.ip) for entry in item.status.loadBalancer.ingress if entry.ip]
    if item.spec.HasField("loadBalancerClass"):
        return addresses
    prefers_more = item.spec.ipFamilyPolicy == services.PREFER_DUAL_STACK and len(addresses) < len(item.spec.ipFamilies)
    return [*(addresses or [PENDING]), *([PARTIAL] if addresses and prefers_more else []), EVERY]


def external_ips(item: Service) -> str:
    """The addresses outside of the cluster, as the column External-IP shows them."""
    spec = item.spec
    if spec.type == services.EXTERNAL_NAME:
        return spec.externalName
    addresses = [*spec.externalIPs]
    if spec.type == services.LOAD_BALANCER:
        addresses = sorted({entry.ip or entry.hostname for entry in item.status.loadBalancer.ingress}) + addresses
        return ",".join(addresses) or "<pending>"
    return ",".join(addresses) or NONE


def _port(port: int, node_port: int, protocol: str) -> str:
    return f"{port}:{node_port}/{protocol}" if node_port else f"{port}/{protocol}"


def _cells(item: Service, now: float) -> tuple[Cell, ...]:
    spec = item.spec
    ports = ",".join(_port(entry.port, entry.nodePort, entry.protocol) for entry in spec.ports) or NONE
    address = spec.clusterIPs[0] if spec.clusterIPs else NONE
    return item.metadata.name, spec.type, address, external_ips(item), ports, age(item, now), labels_text(spec.selector)


_COLUMNS = (
    NAME,
    Column("Type", description="How the Service is reached."),
    Column("Cluster-IP", description="Address inside the cluster."),
    Column("External-IP", description="Addresses outside of the cluster."),
    Column("Port(s)", description="Ports with their protocols; after a colon the port of nodes."),
    AGE,
    wide("Selector", "Labels of the pods that the Service sends to."),
)
SERVICE: Resource[Service] = Resource(
    kinds.SERVICE,
    own_indexes={BY_SELECTOR: _by_selector, BY_LOAD_BALANCER: _by_load_balancer},
    rules=rules.RULES,
    strategy=_Strategy(),
    subresources={"status": _Status()},
    streams={"proxy": Stream(PROXIED, "ServiceProxyOptions")},
    removed=release,
    categories=("all",),
    selectable={"spec.clusterIP": lambda item: item.spec.clusterIP, "spec.type": lambda item: item.spec.type},
    returns_deleted=True,
    creates_on_update=True,
    columns=Columns(_COLUMNS, _cells),
)
