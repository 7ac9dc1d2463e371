"""What an agent is told when it starts: one frozen record, from flags and from what joining left."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from nodeagent.eviction import thresholds
from nodeagent.images.gc import GcPolicy
from nodeagent.images.registry.config import Registries
from nodeagent.node.resources import NodeResources
from nodeagent.pods.model import Policy
from nodeagent.pods.spec.resolver import DnsFlags
from nodeagent.runtime.interface import LogRotation
from nodeagent.shutdown.order import Period
from pinnace import pki


@dataclass(frozen=True, slots=True)
class Config:
    """`cgroup` names the agent's part of every hierarchy; `addresses` are the node's, one of each
    address family at most, the underlay's first; empty: found."""

    state_dir: Path
    node: str
    server: str
    # Where an expired certificate is renewed (host:port); empty for a node that joined before there was such a place.
    join: str = ""
    cgroup: str = "pinnace"
    addresses: tuple[str, ...] = ()
    policy: Policy = field(default_factory=Policy)
    registries: Registries = field(default_factory=Registries)
    image_gc: GcPolicy = field(default_factory=GcPolicy)
    resources: NodeResources = field(default_factory=NodeResources)
    eviction: thresholds.Config = field(default_factory=thresholds.Config)
    # Where static pods are; None: there are none.
    manifests: Path | None = None
    # Seconds between reports of a node status that does not change.
    status_every: float = 300.0
    rotation: LogRotation = field(default_factory=LogRotation)
    dns: DnsFlags = field(default_factory=DnsFlags)
    # How long pods have when the machine shuts down; none: they are not stopped in order.
    shutdown: tuple[Period, ...] = ()
    # Networks outside of the cluster whose packets to pods and Services are forwarded.
    reachable_from: tuple[str, ...] = ()
    # Networks in which the node's addresses answer at NodePorts; none: only its own address of each family does.
    nodeport_addresses: tuple[str, ...] = ()
    # Established connections between pods pass by the rules; see `network.fastpath`.
    fast_path: bool = True
    # OCI runtimes' programs by handler.
    oci_runtimes: dict[str, Path] = field(default_factory=dict)


def load_identity(state_dir: Path) -> dict[str, str]:
    """What joining left. Raises FileNotFoundError."""
    record: dict[str, str] = json.loads((state_dir / "agent.json").read_text())
    return record


def save_identity(state_dir: Path, record: dict[str, str]) -> None:
    pki.write_private(state_dir / "agent.json", json.dumps(record).encode())


def default_name() -> str:
    return os.uname().nodename.lower()
