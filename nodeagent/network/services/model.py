"""What a node knows of a Service: values that are checked, of one address family each. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from nodeagent.network.interface import Node

# nftables, EndpointSlices' conditions and kube-proxy's behaviour all distinguish these.
PROTOCOLS = ("tcp", "udp", "sctp")
# More are ignored: the table has a chain and a map for each number of an endpoint, and each port its own elements.
MAX_ENDPOINTS, MAX_PORTS, MAX_ADDRESSES = 1000, 256, 64
# Source ranges of one address family, once merged; and of those that a Service states, how many are read.
MAX_RANGES, MAX_STATED = 1024, 10_000
# Elements of one Service: of one that has many ports, addresses and endpoints, fewer endpoints are used. Source ranges have as
# many of their own.
MAX_ELEMENTS = 100_000
# Of affinity, of all Services.
MAX_TIMEOUTS = 64


@dataclass(frozen=True, slots=True)
class Facts:
    """This node. `dns`: addresses that the node's resolver answers at; a Service without endpoints does not hide them.
    `addresses`: its own, one of each address family."""

    name: str
    zone: str = ""
    pod_cidrs: tuple[str, ...] = ()
    service_cidrs: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


def facts_of(node: Node) -> Facts:
    return Facts(node.name, node.zone, node.pod_cidrs, node.service_cidrs, node.dns, node.addresses or (node.address,))


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Where a connection is led to."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of a port; `zones` and `nodes` are hints, whom it is for."""

    target: Target
    node: str = ""
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zones: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Port:
    """One port of a Service in one address family. `internal`: cluster IPs; `external`: external IPs and addresses of the load
    balancer; `ranged`: those of them that only `ranges` may use, which is no client if there are none."""

    family: int
    name: str
    protocol: str
    port: int
    node_port: int = 0
    internal: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    ranged: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """`timeout`: seconds of ClientIP affinity, 0 for none. `created` orders Services that claim the same address and port."""

    key: str
    created: tuple[int, str] = (0, "")
    ports: tuple[Port, ...] = ()
    timeout: int = 0
    internal_local: bool = False
    external_local: bool = False
    health_port: int = 0


@dataclass(frozen=True, slots=True)
class Backends:
    """Endpoints of each port: by address family, name and protocol."""

    endpoints: dict[tuple[int, str, str], tuple[Endpoint, ...]] = field(default_factory=dict)

    def of(self, port: Port) -> tuple[Endpoint, ...]:
        return self.endpoints.get((port.family, port.name, port.protocol), ())
