"""The agent's flags about resources, names and runtimes, called as kubelet calls them, and what they make together."""

from __future__ import annotations

import argparse
import functools
import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nodeagent.eviction import thresholds
from nodeagent.network.services import nodeports
from nodeagent.node.resources import POD_OVERHEAD, NodeResources, parse_amounts
from nodeagent.pods.spec.resolver import DnsFlags
from nodeagent.runtime import handlers
from nodeagent.runtime.interface import LogRotation
from nodeagent.shutdown import logind, order
from nodeagent.shutdown.order import Period
from pinnace import quantity
from pinnace.ipfamilies import families_of

# Letters, digits, hyphens and underscores, as in reverse and service names.
_DOMAIN = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")


def add(parser: argparse.ArgumentParser) -> None:
    """Every group of flags, in the order of `--help`."""
    _add_resources(parser)
    _add_eviction(parser)
    _add_pods(parser)
    _add_names(parser)
    _add_network(parser)


def _add_resources(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("resources of the node")
    amounts = _checked(parse_amounts)
    for flag, text in (
        (
            "--capacity",
            "capacity of this node, such as cpu=2,memory=1Gi,ephemeral-storage=5Gi,pid=500 (default: that of the machine)",
        ),
        (
            "--system-reserved",
            "reserved for the system, such as cpu=100m,memory=200Mi,ephemeral-storage=1Gi,pid=100 (default: none)",
        ),
        ("--kube-reserved", "reserved for the agent, in the same form (default: none)"),
    ):
        group.add_argument(flag, type=amounts, default={}, metavar="RESOURCES", help=text)
    group.add_argument("--max-pods", type=_natural, default=110, help="maximum number of pods (default: %(default)s)")
    group.add_argument(
        "--pod-max-pids",
        type=int,
        default=4096,
        help="maximum number of processes of a pod, 0: no limit (default: %(default)s)",
    )


def _add_eviction(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("eviction")
    duration = _checked(thresholds.seconds)
    group.add_argument("--eviction-hard", default=thresholds.HARD, metavar="SIGNAL<LEAST,...",
                       help=f"thresholds that evict immediately (default: {thresholds.HARD.replace('%', '%%')})")  # fmt: skip
    group.add_argument("--eviction-soft", default="", metavar="SIGNAL<LEAST,...",
                       help="thresholds that evict when they are met for their grace period (default: none)")  # fmt: skip
    group.add_argument("--eviction-soft-grace-period", default="", metavar="SIGNAL=TIME,...",
                       help="grace period of each soft threshold, such as memory.available=90s")  # fmt: skip
    group.add_argument("--eviction-minimum-reclaim", default="", metavar="SIGNAL=AMOUNT,...",
                       help="minimum amount to reclaim beyond the threshold, for each signal (default: none)")  # fmt: skip
    group.add_argument("--eviction-max-pod-grace-period", type=_natural, default=0, metavar="SECONDS",
                       help="maximum grace period of a pod that a soft threshold evicts (default: %(default)s)")  # fmt: skip
    group.add_argument("--eviction-pressure-transition-period", type=duration, default=thresholds.TRANSITION, metavar="TIME",
                       help="minimum duration of a pressure condition (default: 5m)")  # fmt: skip
    group.add_argument("--eviction-monitoring-interval", type=duration, default=thresholds.INTERVAL, metavar="TIME",
                       help="interval of measurements (default: 10s)")  # fmt: skip


def _add_pods(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("pods and status")
    duration = _checked(thresholds.seconds)
    group.add_argument("--pod-manifest-path", type=Path, default=None, metavar="DIRECTORY",
                       help="directory with manifests of static pods (default: none)")  # fmt: skip
    group.add_argument("--node-status-report-frequency", type=duration, default=300.0, metavar="TIME",
                       help="interval of reports of an unchanged node status (default: 5m)")  # fmt: skip
    group.add_argument("--shutdown-grace-period", type=duration, default=0.0, metavar="TIME",
                       help="delay of a shutdown of the machine for pods to stop (default: 0, no delay)")  # fmt: skip
    group.add_argument("--shutdown-grace-period-critical-pods", type=duration, default=0.0, metavar="TIME",
                       help="last part of --shutdown-grace-period, for critical pods (default: 0)")  # fmt: skip
    group.add_argument("--shutdown-grace-period-by-pod-priority", type=_checked(order.by_priority), default=(),
                       metavar="PRIORITY=TIME,...", help="grace period of pods with at least each priority, lowest first, "
                       "such as 0=60s,1000=2m; instead of the other two flags")  # fmt: skip
    group.add_argument("--container-log-max-size", type=_checked(quantity.units), default=10 << 20, metavar="BYTES",
                       help="size at which a container's log is rotated (default: 10Mi)")  # fmt: skip
    group.add_argument("--container-log-max-files", type=_natural, default=5, metavar="COUNT",
                       help="maximum number of log files of a container, 2 or more (default: %(default)s)")  # fmt: skip
    group.add_argument("--oci-runtime", action="append", type=_checked(handlers.binary), default=[], metavar="NAME=PATH",
                       help="OCI runtime for the handler NAME of RuntimeClasses; repeatable (default: runc and crun, "
                            "where installed)")  # fmt: skip


def _add_names(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("DNS")
    group.add_argument("--cluster-dns", type=_checked(_addresses), default=(), metavar="IP,...",
                       help="name servers of pods (default: this node's resolver, at the cluster DNS addresses)")  # fmt: skip
    group.add_argument("--cluster-domain", default=None, help="domain of the cluster (default: the control plane's)")
    group.add_argument("--dns-stub-domain", action="append", type=_checked(_stub), default=[], metavar="DOMAIN=IP,...",
                       help="name servers for a domain and all names below it, instead of the node's; repeatable")  # fmt: skip
    group.add_argument("--resolv-conf", type=Path, default=Path("/etc/resolv.conf"), metavar="FILE",
                       help="file with the node's name servers and search domains (default: %(default)s)")  # fmt: skip


def _add_network(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("network")
    group.add_argument("--reachable-from", type=_checked(_networks), default=(), metavar="CIDR,...",
                       help="networks that may reach pods and cluster IPs through this node (default: none; host ports and "
                            "NodePorts are open to all)")  # fmt: skip
    group.add_argument("--nodeport-addresses", type=_checked(nodeports.parse), default=(), metavar="CIDR,...",
                       help=f"networks of the node's addresses that answer at NodePorts; {nodeports.PRIMARY}: the node's own, "
                            f"one of each IP family (default: {nodeports.PRIMARY})")  # fmt: skip
    group.add_argument("--no-fast-path", dest="fast_path", action="store_false",
                       help="all packets between pods pass bridge, routes and rules (default: those of established "
                            "connections pass by)")  # fmt: skip


def resources(args: argparse.Namespace) -> NodeResources:
    return NodeResources(
        capacity=args.capacity, system_reserved=args.system_reserved, kube_reserved=args.kube_reserved,
        hard=tuple(item for item in eviction(args).thresholds if item.hard), max_pods=args.max_pods,
        pod_overhead=POD_OVERHEAD,
        pod_max_pids=max(args.pod_max_pids, 0),
    )  # fmt: skip


def eviction(args: argparse.Namespace) -> thresholds.Config:
    """Ends the process with a message when the flags contradict each other."""
    try:
        found = thresholds.parse(
            args.eviction_hard, args.eviction_soft, args.eviction_soft_grace_period, args.eviction_minimum_reclaim
        )
    except ValueError as error:
        raise SystemExit(f"pinnace-nodeagent: --eviction-...: {error}") from None
    return thresholds.Config(
        found, args.eviction_pressure_transition_period, float(args.eviction_max_pod_grace_period),
        max(args.eviction_monitoring_interval, 0.1),
    )  # fmt: skip


def rotation(args: argparse.Namespace) -> LogRotation:
    """Ends the process with a message for what cannot be."""
    if args.container_log_max_size < 1 or args.container_log_max_files < 2:
        raise SystemExit("pinnace-nodeagent: --container-log-max-size must be positive, --container-log-max-files 2 or more")
    return LogRotation(args.container_log_max_size, args.container_log_max_files)


def dns(args: argparse.Namespace) -> DnsFlags:
    domain = args.cluster_domain.strip(".") if args.cluster_domain is not None else None
    return DnsFlags(args.cluster_dns, domain, args.resolv_conf, dict(args.dns_stub_domain))


def shutdown(args: argparse.Namespace) -> tuple[Period, ...]:
    """Ends the process with a message for what cannot be."""
    found: tuple[Period, ...] = args.shutdown_grace_period_by_pod_priority
    if found and (args.shutdown_grace_period or args.shutdown_grace_period_critical_pods):
        text = "cannot specify both --shutdown-grace-period-by-pod-priority and --shutdown-grace-period"
        raise SystemExit(f"pinnace-nodeagent: {text}")
    try:
        found = found or order.periods(args.shutdown_grace_period, args.shutdown_grace_period_critical_pods)
    except ValueError as error:
        raise SystemExit(f"pinnace-nodeagent: {error}") from None
    if found and not logind.available():
        raise SystemExit("pinnace-nodeagent: --shutdown-grace-period needs dbus-fast: pip install 'pinnace[shutdown]'")
    return found


def oci_runtimes(args: argparse.Namespace) -> dict[str, Path]:
    """Programs by handler."""
    return {**handlers.installed(), **dict(args.oci_runtime)}


def _node_addresses(text: str) -> tuple[str, ...]:
    found = _addresses(text)
    if len(families_of(found)) != len(found):
        raise ValueError("only one address of each IP family is supported: IPv4,IPv6 or IPv6,IPv4")
    return found


def _addresses(text: str) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_address(item.strip())) for item in text.split(",") if item.strip())


def _networks(text: str) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_network(item.strip())) for item in text.split(",") if item.strip())


def _stub(text: str) -> tuple[str, tuple[str, ...]]:
    domain, _, servers = text.partition("=")
    domain = domain.strip(".").lower()
    if not _DOMAIN.fullmatch(domain) or not (addresses := _addresses(servers)):
        raise ValueError(f'"{text}" is not DOMAIN=IP,...')
    return domain, addresses


def _checked(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """As argparse wants it: the error's own words reach the user."""

    @functools.wraps(parse)
    def checked(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


def _natural(text: str) -> int:
    if not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number')
    return int(text)


addresses = _checked(_node_addresses)
