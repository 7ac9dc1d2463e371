"""The command line of the control plane. Each flag fills the field of `Config` of its dest, and has its default from there.

Names are kube-apiserver's and kube-controller-manager's where they have the flag.
"""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import MISSING, fields
from pathlib import Path

from controlplane import flagtypes, rangechecks
from controlplane.config import CONTROLLERS, Config
from controlplane.podranges import wrong_share
from pinnace.formats import is_address
from pinnace.ipfamilies import NAMES, Family, family_of

# The controller of the Service `kubernetes`.
_API_SERVICE = "kubernetes-service"


def parse(arguments: list[str]) -> Config:
    """Exits with a message for the user on bad input."""
    parser = argparse.ArgumentParser(
        "pinnace-controlplane", description="Pinnace's control plane: API, scheduler, controllers.", allow_abbrev=False
    )
    parser.set_defaults(**{item.name: item.default for item in fields(Config) if item.default is not MISSING})
    for add in (
        _add_store,
        _add_addresses,
        _add_network,
        _add_nodes,
        _add_eviction,
        _add_autoscaler,
        _add_certificates,
        _add_tokens,
        _add_audit,
        _add_timeline,
        _add_process,
    ):
        add(parser)
    given = vars(parser.parse_args(arguments))
    disabled = frozenset(given.pop("disable_controller"))
    given["web_fds"] = tuple(given["web_fds"])
    given["advertise"] = given["advertise"] or _own_address(family_of(given["service_cidr"].partition(",")[0]))
    given |= {"disabled": disabled, "scheduler": "scheduler" not in disabled}
    config = Config(**given)
    for error in (_wrong_network(config), _wrong_heartbeat(config), _wrong_store(config)):
        if error:
            parser.error(error)
    return config


def _add_store(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--state-dir", type=Path, default=Path("/var/lib/pinnace/controlplane"), metavar="DIR",
        help="directory of certificates and the SQLite store (default %(default)s)")  # fmt: skip
    add("--store", help="backend of the store: sqlite (default), memory, or etcd://host:port,...")
    add("--etcd-cafile", metavar="FILE", help="CA certificates of etcd's members, PEM")
    add("--etcd-certfile", metavar="FILE", help="client certificate for etcd, PEM; with --etcd-keyfile")
    add("--etcd-keyfile", metavar="FILE", help="private key of --etcd-certfile, PEM")
    add("--force-new", action="store_true",
        help="start with an empty SQLite store if the current one is lost or damaged (kept as store.db.oldN)")  # fmt: skip


def _add_addresses(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--listen", metavar="ADDRESS", help="address of the gRPC port, with mTLS (default %(default)s; empty: none)")
    add(
        "--web",
        metavar="ADDRESS",
        help="address of the HTTPS port: REST API, join, metrics, health (default %(default)s; empty: none)",
    )
    add("--web-fd", dest="web_fds", type=int, action="append", default=[], metavar="FD",
        help="file descriptor of a listening TCP socket for HTTPS; repeatable")  # fmt: skip
    add("--rest-server", metavar="URL", help="URL of the REST API for clients (default: from --advertise and --web)")
    add("--socket", metavar="PATH", help="also serve gRPC with mTLS on this Unix socket")
    add("--advertise", type=flagtypes.host, default="", metavar="HOST",
        help="host name or address to which agents and pods connect (default: this host's, of the IP family of "
             "--service-cluster-ip-range)")  # fmt: skip
    add("--join-tokens", metavar="FILE",
        help="join tokens to accept, one per line, each followed by the name of its node, or by no name for any new node; "
             "valid once, for an hour after the first start with the file")  # fmt: skip


def _add_tokens(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--token-auth-file", metavar="FILE", help='users with static tokens, CSV: token,user,uid,"group1,group2"')
    add("--service-account-issuer", metavar="URL", help="issuer of service accounts' tokens (default %(default)s)")
    add(
        "--service-account-jwks-uri", metavar="URL",
        help="URL of these tokens' keys in the discovery document (default: on the HTTPS port)",
    )  # fmt: skip
    add("--api-audiences", type=flagtypes.names, metavar="NAME,...", help="audiences of the API (default: the issuer)")


def _add_audit(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--audit-log-path", metavar="FILE", help="file for the audit log, one line of JSON for each request (default: none)")
    add("--audit-policy-file", metavar="FILE", help="audit.k8s.io/v1 Policy (default: the metadata of every request)")
    add(
        "--audit-log-maxsize",
        type=flagtypes.count,
        metavar="MB",
        help="size at which the audit log is rotated (default %(default)s)",
    )
    add(
        "--audit-log-maxbackup",
        type=flagtypes.count,
        metavar="N",
        help="maximum number of rotated audit logs (default %(default)s)",
    )


def _add_timeline(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--timeline-maxsize", type=flagtypes.megabytes, metavar="MB",
        help="maximum size of the record of changes for kctl timeline (default %(default)s; 0: none)")  # fmt: skip
    add("--timeline-maxage", type=flagtypes.window, metavar="SECONDS",
        help="maximum age of changes in that record (default %(default).0f; 0: no limit)")  # fmt: skip


def _add_network(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--cluster-cidr", type=flagtypes.networks, metavar="CIDR[,CIDR]",
        help="pod CIDRs: an IPv4 or IPv6 range, or one of each, the primary family first (default: those of the "
             "cluster; 10.244.0.0/14 for a new one)")  # fmt: skip
    add("--node-bits", "--node-cidr-mask-size", type=int, metavar="BITS",
        help="prefix length of a node's pod CIDR in a single-stack cluster (default: the cluster's; for a new one 24, or 64 "
             "for IPv6)")  # fmt: skip
    for name, dest, default in (("IPv4", "node_bits_ipv4", 24), ("IPv6", "node_bits_ipv6", 64)):
        add(f"--node-cidr-mask-size-{name.lower()}", dest=dest, type=int, metavar="BITS",
            help=f"prefix length of a node's {name} pod CIDR (default: the cluster's; {default} for a new one)")  # fmt: skip
    add("--service-cluster-ip-range", dest="service_cidr", type=flagtypes.service_addresses, metavar="CIDR",
        help="cluster IPs of Services: a range, or one of each IP family (default %(default)s)")  # fmt: skip
    add("--service-node-port-range", dest="node_ports", type=flagtypes.ports, metavar="FIRST-LAST",
        help="node ports of Services (default %(default)s)")  # fmt: skip
    add("--load-balancer-pool", type=flagtypes.pool, metavar="CIDR|FIRST-LAST,...",
        help="addresses of the nodes' network for Services of type LoadBalancer (default: none, such Services stay "
             "pending)")  # fmt: skip
    add("--enable-admission-plugins", dest="admission_plugins", type=flagtypes.admission_plugins, metavar="NAME,...",
        help="optional admission plugins: DenyServiceExternalIPs (default: none)")  # fmt: skip
    add("--cluster-domain", type=flagtypes.domain, metavar="DOMAIN", help="domain of Services in DNS (default %(default)s)")
    add("--vni", type=flagtypes.vni, help="VXLAN network identifier, 1 to 16777215 (default %(default)s)")
    add("--encrypt", action="store_true", help="encrypt pod traffic between nodes by WireGuard")
    add("--vxlan-port", type=flagtypes.port, metavar="PORT", help="VXLAN UDP port (default %(default)s)")


def _add_nodes(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--heartbeat", type=float, metavar="SECONDS", help="interval of an agent's heartbeats (default %(default)s)")
    add(
        "--node-grace",
        type=float,
        metavar="SECONDS",
        help="time without heartbeats after which a node is NotReady (default %(default)s)",
    )


def _add_eviction(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--node-eviction-rate", dest="eviction_rate", type=flagtypes.rate, metavar="RATE",
        help="NotReady nodes per second and zone from which pods are evicted (default %(default)s; 0: none)")  # fmt: skip
    add("--secondary-node-eviction-rate", dest="secondary_eviction_rate", type=flagtypes.rate, metavar="RATE",
        help="--node-eviction-rate of a large zone in partial disruption (default %(default)s)")  # fmt: skip
    add("--unhealthy-zone-threshold", type=flagtypes.share, metavar="SHARE",
        help="share of NotReady nodes from which a zone is in partial disruption (default %(default)s)")  # fmt: skip
    add("--large-cluster-size-threshold", dest="large_zone", type=flagtypes.count, metavar="NODES",
        help="number of nodes above which a zone is large; in smaller zones a partial disruption stops evictions "
             "(default %(default)s)")  # fmt: skip
    add("--terminated-pod-gc-threshold", dest="terminated_pods", type=flagtypes.count, metavar="PODS",
        help="number of finished pods above which the oldest are deleted (default %(default)s; 0: no limit)")  # fmt: skip
    add("--event-ttl", type=float, metavar="SECONDS", help="time after which events are deleted (default %(default)s)")


def _add_autoscaler(parser: argparse.ArgumentParser) -> None:
    for name, field, type_, metavar, subject in (
        ("sync-period", "period", flagtypes.period, "SECONDS", "interval of decisions about an autoscaled workload"),
        ("downscale-stabilization", "stabilization", flagtypes.window, "SECONDS",
         "window of recommendations of which the highest applies before pods are removed"),
        ("cpu-initialization-period", "cpu_initialization", flagtypes.window, "SECONDS",
         "time after a pod's start during which its CPU usage may be ignored"),
        ("initial-readiness-delay", "readiness_delay", flagtypes.window, "SECONDS",
         "time after a pod's start during which changes of its readiness count as its initial readiness"),
        ("tolerance", "tolerance", flagtypes.ratio, "RATIO", "relative distance to the target that changes nothing"),
    ):  # fmt: skip
        parser.add_argument(f"--horizontal-pod-autoscaler-{name}", dest=f"autoscaler_{field}", type=type_, metavar=metavar,
                            help=f"{subject} (default %(default)s)")  # fmt: skip


def _add_certificates(parser: argparse.ArgumentParser) -> None:
    for flag, field, subject in (
        ("--node-certificate-ttl", "node_certificate", "an agent's certificate"),
        ("--server-certificate-ttl", "server_certificate", "the server's certificate"),
        ("--admin-certificate-ttl", "admin_certificate", "the administrator's certificate"),
    ):
        parser.add_argument(flag, dest=field, type=flagtypes.lifetime, metavar="SECONDS",
                            help=f"lifetime of {subject}, renewed after two thirds of it (default %(default).0f)")  # fmt: skip
    parser.add_argument("--node-renewal-window", dest="node_renewal", type=flagtypes.window, metavar="SECONDS",
                        help="time after its expiry during which a node may renew its last certificate (default "
                             "%(default).0f; 0: never)")  # fmt: skip


def _add_process(parser: argparse.ArgumentParser) -> None:
    every = (*CONTROLLERS, "scheduler")
    parser.add_argument("--disable-controller", action="append", default=[], metavar="NAME", choices=every,
                        help="controller to disable, in favour of another; repeatable: " + ", ".join(every))  # fmt: skip
    parser.add_argument("--lab-clock", type=Path, metavar="FILE",
                        help="file for the time of a lab, which administrators may advance (kctl lab clock; default: the "
                             "machine's time)")  # fmt: skip
    parser.add_argument("--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"))


def _wrong_network(config: Config) -> str:
    own = config.family_bits
    if config.node_bits and len(config.cluster_cidrs) > 1:
        return "--node-bits is for single-stack clusters: set --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6"
    if config.node_bits and own:
        return f"--node-bits and --node-cidr-mask-size-ipv{min(own)} are alternatives: set only one of them"
    families = {family_of(cidr) for cidr in config.cluster_cidrs} or {4, 6}
    for family in (family for family in own if family not in families):
        return f"--node-cidr-mask-size-ipv{family} needs an {NAMES[family]} range in --cluster-cidr, not {config.cluster_cidr}"
    bits = config.share_bits
    given = [(cidr, bits[family_of(cidr)]) for cidr in config.cluster_cidrs if family_of(cidr) in bits]
    services = config.service_cidr.split(",")
    if wrong := rangechecks.wrong_ranges(pods=config.cluster_cidrs, services=services, pool=config.pool):
        return wrong
    if wrong := _wrong_api(config) or rangechecks.wrong_port(config.vxlan_port, encrypt=config.encrypt):
        return wrong
    return next(filter(None, (wrong_share(*share) for share in given)), "")


def _wrong_api(config: Config) -> str:
    """An address that could be no endpoint of the Service `kubernetes`; of a host name the addresses of its family are used.
    Without its controller another one keeps the Service, as with kube-apiserver's endpoint reconciler `none`."""
    host, family = config.api_for_pods[0], config.api_family
    if not is_address(host) or family_of(host) == family or _API_SERVICE in config.disabled:
        return ""
    cidr = config.service_cidr.partition(",")[0]
    return (
        f"--advertise {host} is not of the same IP family as the first --service-cluster-ip-range, {cidr}: pods would not "
        f"reach the API by the Service kubernetes; set an {NAMES[family]} address, or let a range of {NAMES[family_of(host)]} "
        "be the first"
    )


def _wrong_heartbeat(config: Config) -> str:
    if config.node_grace < 2 * config.heartbeat:
        return "--node-grace must be at least twice --heartbeat, or a single late heartbeat makes a node NotReady"
    return ""


def _wrong_store(config: Config) -> str:
    etcd = config.store.startswith("etcd://")
    if config.store not in ("sqlite", "memory") and not etcd:
        return f"--store must be sqlite, memory or etcd://host:port,..., not {config.store}"
    if bool(config.etcd_certfile) != bool(config.etcd_keyfile):
        return "--etcd-certfile and --etcd-keyfile must be set together"
    if (config.etcd_cafile or config.etcd_certfile) and not etcd:
        return f"--etcd-cafile and --etcd-certfile need --store etcd://host:port,..., not {config.store}"
    return ""


def _own_address(primary: Family) -> str:
    """The address of the interface with the default route, of the primary family if there is one; loopback on a host without a
    default route. Sends nothing."""
    import socket

    probes = {4: (socket.AF_INET, "192.0.2.1"), 6: (socket.AF_INET6, "2001:db8::1")}
    for family in sorted(probes, key=lambda item: item != primary):
        of, elsewhere = probes[family]
        with contextlib.suppress(OSError), socket.socket(of, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            return str(probe.getsockname()[0])
    return "127.0.0.1"
