"""Settings of the control plane: one frozen dataclass, which the command line (`flags`) or a test fills."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from controlplane.serviceranges import DEFAULT_ADDRESSES, DEFAULT_PORTS, AddressRange, PortRange, ServiceRanges, pool_range
from pinnace import pki
from pinnace.ipfamilies import Address, Family, family_of, url_host

CONTROLLERS = (
    "nodelifecycle",
    "tainteviction",
    "namespaces",
    "garbage",
    "podgc",
    "eventttl",
    "resourcequota",
    "customresources",
    "clusterroleaggregation",
    "serviceaccounts",
    "rootcapublisher",
    "replicaset",
    "replicationcontroller",
    "deployment",
    "daemonset",
    "statefulset",
    "job",
    "cronjob",
    "ttl-after-finished",
    "disruption",
    "horizontalpodautoscaling",
    "persistentvolume-binder",
    "persistentvolume-expander",
    "pvc-protection",
    "pv-protection",
    "ephemeral-volume",
    "local-path-provisioner",
    "endpointslice",
    "endpoints",
    "endpointslicemirroring",
    "kubernetes-service",
    "service-lb-pool",
    "service-ranges",
)

# Rounds in each heartbeat interval in which leases of agents that were heard are renewed, so that the work is spread over it.
RENEWALS = 4


@dataclass(frozen=True, slots=True)
class Config:
    """Addresses are `host:port`; durations in seconds."""

    state_dir: Path
    # "sqlite", "memory" or "etcd://host:port,host:port".
    store: str = "sqlite"
    # PEM files for TLS to etcd: the CA of its members, and the client's certificate and key. All empty: no TLS.
    etcd_cafile: str = ""
    etcd_certfile: str = ""
    etcd_keyfile: str = ""
    # gRPC with mTLS. Empty: no TCP listener.
    listen: str = "0.0.0.0:6443"
    # HTTPS: joining, metrics, health. Empty: none.
    web: str = "0.0.0.0:6444"
    # Listening TCP sockets for the same, which the parent process has opened; one of them may be at the address of `web`.
    web_fds: tuple[int, ...] = ()
    # The URL by which clients on other machines, or outside of the control plane's network, reach the REST API.
    rest_server: str = ""
    # gRPC with mTLS on a Unix socket, for kctl on this machine. Empty: none.
    socket: str = ""
    # The host name or address that agents dial; IPv6 without brackets.
    advertise: str = "127.0.0.1"
    # Ranges of pod addresses, one for each address family, with a comma between two; the first is of the primary family.
    # Empty: the cluster's own, or the default of a new one.
    cluster_cidr: str = ""
    # Prefix length of each node's share of cluster_cidr, of one family or of each; 0 as above.
    node_bits: int = 0
    node_bits_ipv4: int = 0
    node_bits_ipv6: int = 0
    # The range of Services' addresses, the ports of nodes that lead to Services, and the addresses that the load balancer
    # gives to Services: CIDRs and ranges, with commas between them. Empty: Services of type LoadBalancer stay pending.
    service_cidr: str = DEFAULT_ADDRESSES
    node_ports: str = DEFAULT_PORTS
    load_balancer_pool: str = ""
    # Names of admission plugins that are on besides those that always are, with commas between them.
    admission_plugins: str = ""
    # The domain of Services' names in DNS.
    cluster_domain: str = "cluster.local"
    # How often agents are heard, and at most how long after its last heartbeat a silent one is NotReady.
    heartbeat: float = 4.0
    node_grace: float = 15.0
    # Lost nodes a second and zone whose pods are evicted, usually and in a large zone in partial disruption; the share of
    # NotReady nodes that makes one; and the number of nodes above which a zone is large.
    eviction_rate: float = 0.1
    secondary_eviction_rate: float = 0.01
    unhealthy_zone_threshold: float = 0.55
    large_zone: int = 50
    # Finished pods that are kept; 0: all.
    terminated_pods: int = 12_500
    # Seconds that an event is kept after it last happened.
    event_ttl: float = 3600.0
    # Of HorizontalPodAutoscalers: seconds between two reconciliations, for which fewer replicas are put off, after a pod's
    # start in which its use of processors may be skipped, and in which a change of its readiness is its first; and the
    # relative distance to the target within which nothing changes.
    autoscaler_period: float = 15.0
    autoscaler_stabilization: float = 300.0
    autoscaler_cpu_initialization: float = 300.0
    autoscaler_readiness_delay: float = 30.0
    autoscaler_tolerance: float = 0.1
    # VXLAN network identifier and UDP port (4789 is IANA's).
    vni: int = 42
    vxlan_port: int = 4789
    # Nodes encrypt their pods' packets to other nodes.
    encrypt: bool = False
    disabled: frozenset[str] = field(default_factory=frozenset)
    scheduler: bool = True
    # A file of join tokens, `TOKEN [NODE]` a line, to accept from the start. Empty: none.
    join_tokens: str = ""
    # Where the audit log is written, and the policy of what is; empty: none, and metadata of every request.
    audit_log_path: str = ""
    audit_policy_file: str = ""
    # Megabytes of one file, and files that are kept besides the present one.
    audit_log_maxsize: int = 100
    audit_log_maxbackup: int = 10
    # Megabytes of the timeline's file (0: no timeline), and seconds that a record is kept (0: while there is room).
    timeline_maxsize: int = 64
    timeline_maxage: float = 7 * 86400.0
    # File of static bearer tokens, issuer of service accounts' tokens, and audiences of the API (empty: the issuer).
    token_auth_file: str = ""
    service_account_issuer: str = "https://kubernetes.default.svc.cluster.local"
    service_account_jwks_uri: str = ""
    api_audiences: tuple[str, ...] = ()
    # Lifetimes of certificates, and how long after its end a node may still renew the last one that it was given.
    node_certificate: float = pki.NODE_LIFETIME
    node_renewal: float = 30 * pki.DAY
    server_certificate: float = pki.SERVER_LIFETIME
    admin_certificate: float = pki.ADMIN_LIFETIME
    # Of a lab: the file of its clock, which its administrator can advance. None: the machine's time.
    lab_clock: Path | None = None
    # Begin with an empty SQLite store where the present one is lost or damaged; it is kept under another name.
    force_new: bool = False
    log_level: str = "INFO"

    @property
    def lease_grace(self) -> float:
        """Seconds without a change of its lease until a node is NotReady: a heartbeat reaches the lease in the next of the
        `RENEWALS` of an interval."""
        return self.node_grace - self.heartbeat / RENEWALS

    @property
    def cluster_cidrs(self) -> tuple[str, ...]:
        return tuple(filter(None, self.cluster_cidr.split(",")))

    @property
    def pool(self) -> tuple[tuple[Address, Address], ...]:
        """First and last address of each range of the load balancer."""
        return tuple(pool_range(text) for text in filter(None, self.load_balancer_pool.split(",")))

    @property
    def services(self) -> ServiceRanges:
        """What Services are given."""
        cidrs = self.service_cidr.split(",")
        return ServiceRanges(tuple(AddressRange(cidr) for cidr in cidrs), PortRange.parse(self.node_ports))

    @property
    def family_bits(self) -> dict[Family, int]:
        """Prefix lengths of the flags that are of one family."""
        given: dict[Family, int] = {4: self.node_bits_ipv4, 6: self.node_bits_ipv6}
        return {family: bits for family, bits in given.items() if bits}

    @property
    def share_bits(self) -> dict[Family, int]:
        """Prefix lengths that the flags give, by family; that of --node-bits for whichever the cluster has."""
        return {4: self.node_bits, 6: self.node_bits, **self.family_bits} if self.node_bits else self.family_bits

    @property
    def web_address(self) -> str:
        """Where joining hosts and clients of the REST API reach the HTTPS port; empty without one."""
        return f"{url_host(self.advertise)}:{self.web.rpartition(':')[2]}" if self.web else ""

    @property
    def grpc_address(self) -> str:
        """Where agents, and clients with gRPC, reach the TCP listener."""
        return f"{url_host(self.advertise)}:{self.listen.rpartition(':')[2]}"

    @property
    def api_for_pods(self) -> tuple[str, int]:
        """Host and port at which pods reach the HTTPS port, as its certificate has it; an empty host where they do not."""
        listening, _, port = self.web.rpartition(":")
        unreachable = not self.web or _is_loopback(listening) or _is_loopback(self.advertise)
        return ("", 0) if unreachable else (self.advertise, int(port))

    @property
    def api_family(self) -> Family:
        """That of the Service `kubernetes`: of the first range of Services."""
        return family_of(self.service_cidr.partition(",")[0])

    @property
    def rest(self) -> str:
        """The URL of the REST API; empty without one."""
        return self.rest_server or (f"https://{self.web_address}" if self.web else "")

    @property
    def endpoint(self) -> str:
        """What a context on this machine dials."""
        return f"unix://{self.socket}" if self.socket else self.grpc_address


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
