"""The command line of the control plane. Each flag fills the field of `Config` of its dest, and has its default from there.

Names are kube-apiserver's and kube-controller-manager's where they have the flag.
"""

from __future__ import annotations

import argparse
import ipaddress
from dataclasses import MISSING, fields
from pathlib import Path

from controlplane import flagtypes
from controlplane.config import CONTROLLERS, Config


def parse(arguments: list[str]) -> Config:
    """Exits with a message for the user on bad input."""
    parser = argparse.ArgumentParser(
        "pinnace-controlplane", description="Pinnace's control plane: API, scheduler, controllers."
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
    given["advertise"] = given["advertise"] or _own_address()
    given |= {"disabled": disabled, "scheduler": "scheduler" not in disabled}
    config = Config(**given)
    for error in (_wrong_network(config), _wrong_heartbeat(config), _wrong_store(config)):
        if error:
            parser.error(error)
    return config


def _add_store(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--state-dir", type=Path, default=Path("/var/lib/pinnace/controlplane"), metavar="DIR",
        help="certificates and the SQLite store (default %(default)s)")  # fmt: skip
    add("--store", help="sqlite (default), memory, or etcd://host:port,...")
    add("--etcd-cafile", metavar="FILE", help="CA certificates that etcd's members are verified with, PEM")
    add("--etcd-certfile", metavar="FILE", help="client certificate for etcd, PEM; with --etcd-keyfile")
    add("--etcd-keyfile", metavar="FILE", help="private key of --etcd-certfile, PEM")
    add("--force-new", action="store_true",
        help="begin with an empty SQLite store if the present one is lost or damaged (it is kept: store.db.oldN)")  # fmt: skip


def _add_addresses(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--listen", metavar="ADDRESS", help="gRPC with mTLS (default %(default)s; empty: none)")
    add("--web", metavar="ADDRESS", help="HTTPS: REST API, join, metrics, health (default %(default)s; empty: none)")
    add("--web-fd", dest="web_fds", type=int, action="append", default=[], metavar="FD",
        help="file descriptor of a listening TCP socket for HTTPS, also one at the address of --web; repeatable")  # fmt: skip
    add("--rest-server", metavar="URL", help="URL by which clients reach the REST API (default: from --advertise and --web)")
    add("--socket", metavar="PATH", help="also serve gRPC with mTLS on this Unix socket")
    add("--advertise", default="", metavar="HOST", help="host name or address that agents dial (default: this host's)")
    add("--join-tokens", metavar="FILE",
        help="join tokens to accept, one a line, each followed by the name of its node or for any new node; each works once, "
             "within an hour of the first start with it")  # fmt: skip


def _add_tokens(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--token-auth-file", metavar="FILE", help='users with static tokens, CSV: token,user,uid,"group1,group2"')
    add("--service-account-issuer", metavar="URL", help="issuer of service accounts' tokens (default %(default)s)")
    add(
        "--service-account-jwks-uri", metavar="URL",
        help="where the keys of these tokens are, for the discovery document (default: on the HTTPS port)",
    )  # fmt: skip
    add("--api-audiences", type=flagtypes.names, metavar="NAME,...", help="audiences of the API (default: the issuer)")


def _add_audit(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--audit-log-path", metavar="FILE", help="write a line of JSON for each request to this file (default: none)")
    add("--audit-policy-file", metavar="FILE", help="audit.k8s.io/v1 Policy (default: the metadata of every request)")
    add(
        "--audit-log-maxsize",
        type=flagtypes.count,
        metavar="MB",
        help="size at which the file is rotated (default %(default)s)",
    )
    add("--audit-log-maxbackup", type=flagtypes.count, metavar="N", help="rotated files that are kept (default %(default)s)")


def _add_timeline(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--timeline-maxsize", type=flagtypes.megabytes, metavar="MB",
        help="size of the record of all changes that kctl timeline reads (default %(default)s; 0: none)")  # fmt: skip
    add("--timeline-maxage", type=flagtypes.window, metavar="SECONDS",
        help="how long a change is kept in it (default %(default).0f; 0: while there is room)")  # fmt: skip


def _add_network(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--cluster-cidr", type=flagtypes.network, metavar="CIDR",
        help="all pod addresses (default: those of the cluster; 10.244.0.0/14 for a new one)")  # fmt: skip
    add("--node-bits", type=int, metavar="BITS",
        help="prefix length of a node's pod range (default: the cluster's; 24 for a new one)")  # fmt: skip
    add("--vni", type=int, help="VXLAN network identifier (default %(default)s)")
    add("--vxlan-port", type=int, metavar="PORT", help="VXLAN UDP port (default %(default)s)")


def _add_nodes(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--heartbeat", type=float, metavar="SECONDS", help="seconds between an agent's heartbeats (default %(default)s)")
    add("--node-grace", type=float, metavar="SECONDS", help="seconds until a silent node is NotReady (default %(default)s)")


def _add_eviction(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--node-eviction-rate", dest="eviction_rate", type=flagtypes.rate, metavar="RATE",
        help="lost nodes per second and zone whose pods are evicted (default %(default)s; 0: none)")  # fmt: skip
    add("--secondary-node-eviction-rate", dest="secondary_eviction_rate", type=flagtypes.rate, metavar="RATE",
        help="the same in a large zone of which most nodes are NotReady (default %(default)s)")  # fmt: skip
    add("--unhealthy-zone-threshold", type=flagtypes.share, metavar="SHARE",
        help="share of NotReady nodes from which a zone is in partial disruption (default %(default)s)")  # fmt: skip
    add("--large-cluster-size-threshold", dest="large_zone", type=flagtypes.count, metavar="NODES",
        help="nodes above which a zone is large; smaller ones then evict nothing (default %(default)s)")  # fmt: skip
    add("--terminated-pod-gc-threshold", dest="terminated_pods", type=flagtypes.count, metavar="PODS",
        help="finished pods that are kept before the oldest are deleted (default %(default)s; 0: all)")  # fmt: skip
    add("--event-ttl", type=float, metavar="SECONDS", help="seconds that an event is kept (default %(default)s)")


def _add_autoscaler(parser: argparse.ArgumentParser) -> None:
    for name, field, type_, metavar, subject in (
        ("sync-period", "period", flagtypes.period, "SECONDS", "seconds between two looks at an autoscaled workload"),
        ("downscale-stabilization", "stabilization", flagtypes.window, "SECONDS",
         "seconds for which the highest recommendation holds before pods are removed"),
        ("cpu-initialization-period", "cpu_initialization", flagtypes.window, "SECONDS",
         "seconds after a pod's start in which its cpu usage may be skipped"),
        ("initial-readiness-delay", "readiness_delay", flagtypes.window, "SECONDS",
         "seconds after a pod's start in which a change of its readiness is the first"),
        ("tolerance", "tolerance", flagtypes.ratio, "RATIO", "relative distance to the target within which nothing changes"),
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
                        help="how long after its end a node may still renew its last certificate, for nodes that were off "
                             "(default %(default).0f; 0: never)")  # fmt: skip


def _add_process(parser: argparse.ArgumentParser) -> None:
    every = (*CONTROLLERS, "scheduler")
    parser.add_argument("--disable-controller", action="append", default=[], metavar="NAME", choices=every,
                        help="switch one off, to test your own: " + ", ".join(every))  # fmt: skip
    parser.add_argument("--lab-clock", type=Path, metavar="FILE",
                        help="of labs: let an administrator advance the time (kctl lab clock), which is kept in this file "
                             "(default: the machine's time, which cannot be moved)")  # fmt: skip
    parser.add_argument("--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"))


def _wrong_network(config: Config) -> str:
    shortest = ipaddress.ip_network(config.cluster_cidr).prefixlen if config.cluster_cidr else 1
    if config.node_bits and not shortest <= config.node_bits <= 30:
        return f"--node-bits must lie between the prefix length of --cluster-cidr and 30, not {config.node_bits}"
    return ""


def _wrong_heartbeat(config: Config) -> str:
    if config.node_grace < 2 * config.heartbeat:
        return "--node-grace must be at least twice --heartbeat, or a single late heartbeat loses a node"
    return ""


def _wrong_store(config: Config) -> str:
    etcd = config.store.startswith("etcd://")
    if config.store not in ("sqlite", "memory") and not etcd:
        return f"--store must be sqlite, memory or etcd://host:port,..., not {config.store}"
    if bool(config.etcd_certfile) != bool(config.etcd_keyfile):
        return "--etcd-certfile and --etcd-keyfile go together"
    if (config.etcd_cafile or config.etcd_certfile) and not etcd:
        return f"--etcd-cafile and --etcd-certfile need --store etcd://host:port,..., not {config.store}"
    return ""


def _own_address() -> str:
    """The address of the interface with the default route; loopback on a host without one. Sends nothing."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
