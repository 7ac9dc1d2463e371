"""The agent's flags about resources, names and runtimes, called as kubelet calls them, and what they make together."""

from __future__ import annotations

import argparse
import functools
import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nodeagent.eviction import thresholds
from nodeagent.node.resources import POD_OVERHEAD, NodeResources, parse_amounts
from nodeagent.pods.spec.resolver import ClusterDns
from nodeagent.runtime import handlers
from nodeagent.runtime.interface import LogRotation
from nodeagent.shutdown import logind, order
from nodeagent.shutdown.order import Period
from pinnace import quantity


def add(parser: argparse.ArgumentParser) -> None:
    """Every group of flags, in the order of `--help`."""
    _add_resources(parser)
    _add_eviction(parser)
    _add_pods(parser)
    _add_names(parser)


def _add_resources(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("resources of the node")
    amounts = _checked(parse_amounts)
    for flag, text in (
        (
            "--capacity",
            "what this node has of the machine: cpu=2,memory=1Gi,ephemeral-storage=5Gi,pid=500",
        ),
        ("--system-reserved", "kept from pods for the system: cpu=100m,memory=200Mi,ephemeral-storage=1Gi"),
        ("--kube-reserved", "kept from pods for the agent, likewise"),
    ):
        group.add_argument(flag, type=amounts, default={}, metavar="RESOURCES", help=text)
    group.add_argument("--max-pods", type=_natural, default=110, help="pods at once (default: %(default)s)")
    group.add_argument(
        "--pod-max-pids", type=int, default=4096, help="processes of one pod, 0 or less for no limit (default: %(default)s)"
    )


def _add_eviction(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("eviction")
    duration = _checked(thresholds.seconds)
    group.add_argument("--eviction-hard", default=thresholds.HARD, metavar="SIGNAL<LEAST,...",
                       help=f"evict at once while less is left (default: {thresholds.HARD.replace('%', '%%')})")  # fmt: skip
    group.add_argument("--eviction-soft", default="", metavar="SIGNAL<LEAST,...", help="evict when it lasts")
    group.add_argument("--eviction-soft-grace-period", default="", metavar="SIGNAL=TIME,...", help="how long that is")
    group.add_argument("--eviction-minimum-reclaim", default="", metavar="SIGNAL=AMOUNT,...", help="what more to free")
    group.add_argument("--eviction-max-pod-grace-period", type=_natural, default=0, metavar="SECONDS",
                       help="longest that a pod may take to stop after a soft threshold (default: %(default)s)")  # fmt: skip
    group.add_argument("--eviction-pressure-transition-period", type=duration, default=thresholds.TRANSITION, metavar="TIME",
                       help="how long a pressure condition stays (default: 5m)")  # fmt: skip
    group.add_argument("--eviction-monitoring-interval", type=duration, default=thresholds.INTERVAL, metavar="TIME",
                       help="between looks (default: 10s)")  # fmt: skip


def _add_pods(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("pods and status")
    duration = _checked(thresholds.seconds)
    group.add_argument("--pod-manifest-path", type=Path, default=None, metavar="FOLDER",
                       help="run the pods of the manifests in this folder, whatever the control plane says")  # fmt: skip
    group.add_argument("--node-status-report-frequency", type=duration, default=300.0, metavar="TIME",
                       help="between reports of a node status that does not change (default: 5m)")  # fmt: skip
    group.add_argument("--shutdown-grace-period", type=duration, default=0.0, metavar="TIME",
                       help="how long a shutdown of the machine waits for pods to stop (default: 0, not at all)")  # fmt: skip
    group.add_argument("--shutdown-grace-period-critical-pods", type=duration, default=0.0, metavar="TIME",
                       help="the last part of it, for critical pods (default: 0)")  # fmt: skip
    group.add_argument("--shutdown-grace-period-by-pod-priority", type=_checked(order.by_priority), default=(),
                       metavar="PRIORITY=TIME,...", help="instead of both: the time of the pods of at least each priority, "
                       "the lowest first, such as 0=60s,1000=2m")  # fmt: skip
    group.add_argument("--container-log-max-size", type=_checked(quantity.units), default=10 << 20, metavar="BYTES",
                       help="size at which a container's log is rotated (default: 10Mi)")  # fmt: skip
    group.add_argument("--container-log-max-files", type=_natural, default=5, metavar="COUNT",
                       help="files of it that are kept, 2 or more (default: %(default)s)")  # fmt: skip
    group.add_argument("--oci-runtime", action="append", type=_checked(handlers.binary), default=[], metavar="NAME=PATH",
                       help="an OCI runtime for RuntimeClasses whose handler is NAME; repeatable (runc and crun are found "
                            "by themselves)")  # fmt: skip


def _add_names(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("names")
    group.add_argument("--cluster-dns", type=_checked(_addresses), default=(), metavar="IP,...",
                       help="name servers of the cluster (default: none, pods use the node's resolvers)")  # fmt: skip
    group.add_argument("--cluster-domain", default="cluster.local", help="domain of the cluster (default: %(default)s)")
    group.add_argument("--resolv-conf", type=Path, default=Path("/etc/resolv.conf"), metavar="FILE",
                       help="where the node's own name servers are (default: %(default)s)")  # fmt: skip


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


def dns(args: argparse.Namespace) -> ClusterDns:
    return ClusterDns(args.cluster_dns, args.cluster_domain.strip("."), args.resolv_conf)


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


def _addresses(text: str) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_address(item.strip())) for item in text.split(",") if item.strip())


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
        raise argparse.ArgumentTypeError(f'"{text}" is no whole number')
    return int(text)
