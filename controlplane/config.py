"""Settings of the control plane: one frozen dataclass, and the command line that fills it."""

from __future__ import annotations

import argparse
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

CONTROLLERS = ("nodelifecycle", "tainteviction", "namespaces", "garbage", "podgc", "eventttl")


@dataclass(frozen=True, slots=True)
class Config:
    """Addresses are `host:port`; durations in seconds."""

    state_dir: Path
    # "sqlite", "memory" or "etcd://host:port,host:port".
    store: str = "sqlite"
    # gRPC with mTLS. Empty: no TCP listener.
    listen: str = "0.0.0.0:6443"
    # HTTPS: joining, metrics, health. Empty: none.
    web: str = "0.0.0.0:6444"
    # gRPC with mTLS on a Unix socket, for kctl on this machine. Empty: none.
    socket: str = ""
    # The host name or address that agents dial.
    advertise: str = "127.0.0.1"
    cluster_cidr: str = "10.244.0.0/16"
    # Prefix length of each node's share of cluster_cidr.
    node_bits: int = 24
    # How often agents are heard, and after how long a silent one is NotReady.
    heartbeat: float = 4.0
    node_grace: float = 15.0
    # Seconds that an event is kept after it last happened.
    event_ttl: float = 3600.0
    # VXLAN network identifier and UDP port (4789 is IANA's).
    vni: int = 42
    vxlan_port: int = 4789
    disabled: frozenset[str] = field(default_factory=frozenset)
    scheduler: bool = True
    # A file of join tokens, one a line, to accept from the start. Empty: none.
    join_tokens: str = ""
    log_level: str = "INFO"

    @property
    def endpoint(self) -> str:
        """What a context on this machine dials."""
        return f"unix://{self.socket}" if self.socket else f"{self.advertise}:{self.listen.rpartition(':')[2]}"


def parse(arguments: list[str]) -> Config:
    """Exits with a message for people on bad input."""
    parser = argparse.ArgumentParser(
        "pinnace-controlplane", description="Pinnace's control plane: API, scheduler, controllers."
    )
    add = parser.add_argument
    add(
        "--state-dir",
        type=Path,
        default=Path("/var/lib/pinnace/controlplane"),
        help="certificates and the SQLite store",
    )
    add("--store", default="sqlite", help="sqlite (default), memory, or etcd://host:port,...")
    add("--listen", default="0.0.0.0:6443", help="gRPC with mTLS (default %(default)s; empty: none)")
    add("--web", default="0.0.0.0:6444", help="HTTPS: join, metrics, health (default %(default)s; empty: none)")
    add("--socket", default="", help="also serve gRPC with mTLS on this Unix socket")
    add("--advertise", default="", help="host name or address that agents dial (default: this host's)")
    add("--cluster-cidr", default="10.244.0.0/16", type=_network, help="all pod addresses (default %(default)s)")
    add("--node-bits", default=24, type=int, help="prefix length of a node's pod range (default %(default)s)")
    add("--event-ttl", default=3600.0, type=float, help="seconds that an event is kept (default %(default)s)")
    add("--heartbeat", default=4.0, type=float, help="seconds between an agent's heartbeats (default %(default)s)")
    add("--node-grace", default=15.0, type=float, help="seconds until a silent node is NotReady (default %(default)s)")
    add("--vni", default=42, type=int, help="VXLAN network identifier (default %(default)s)")
    add("--vxlan-port", default=4789, type=int, help="VXLAN UDP port (default %(default)s)")
    add("--disable-controller", action="append", default=[], metavar="NAME", choices=(*CONTROLLERS, "scheduler"),
        help="switch one off, to test your own: " + ", ".join((*CONTROLLERS, "scheduler")))  # fmt: skip
    add("--join-tokens", default="", metavar="FILE", help="join tokens to accept, one a line; each works once")
    add("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    args = parser.parse_args(arguments)
    if not ipaddress.ip_network(args.cluster_cidr).prefixlen <= args.node_bits <= 30:
        parser.error(f"--node-bits must lie between the prefix length of --cluster-cidr and 30, not {args.node_bits}")
    if args.node_grace < 2 * args.heartbeat:
        parser.error("--node-grace must be at least twice --heartbeat, or a single late heartbeat loses a node")
    if args.store not in ("sqlite", "memory") and not args.store.startswith("etcd://"):
        parser.error(f"--store must be sqlite, memory or etcd://host:port,..., not {args.store}")
    return Config(
        state_dir=args.state_dir, store=args.store, listen=args.listen, web=args.web, socket=args.socket,
        advertise=args.advertise or _own_address(), cluster_cidr=args.cluster_cidr, node_bits=args.node_bits,
        heartbeat=args.heartbeat, node_grace=args.node_grace, event_ttl=args.event_ttl,
        vni=args.vni, vxlan_port=args.vxlan_port,
        disabled=frozenset(args.disable_controller), scheduler="scheduler" not in args.disable_controller,
        log_level=args.log_level, join_tokens=args.join_tokens,
    )  # fmt: skip


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if network.version != 4:
        raise argparse.ArgumentTypeError("only IPv4 ranges are supported")
    return str(network)


def _own_address() -> str:
    """The address of the interface with the default route; loopback on a host without one. Sends nothing."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
