"""What a pod's worker needs of the node: the seams, handed in once by the agent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodeagent.images.puller import Puller
from nodeagent.images.store import ImageStore
from nodeagent.network.ipam import Ipam
from nodeagent.network.seam import Network
from nodeagent.pods.model import Policy
from nodeagent.pods.resolver import ClusterDns
from nodeagent.runtime.cgroups import Cgroups
from nodeagent.runtime.seam import Handle, LogRotation
from nodeagent.runtime.select import Runtimes
from pinnace.clock import Clock

# (pod, reason, message, warning)
EventSink = Callable[[Any, str, str, bool], None]
# (pod, status, removed)
Report = Callable[[Any, Any, bool], None]
# (container, command, seconds) to exit code and output; raises TimeoutError and StartError.
Execute = Callable[[Handle, list[str], float], Awaitable[tuple[int, str]]]


@dataclass(frozen=True, slots=True)
class Services:
    runtimes: Runtimes
    execute: Execute
    network: Network
    images: ImageStore
    puller: Puller
    cgroups: Cgroups
    clock: Clock
    policy: Policy
    state: Path
    logs: Path
    host_ip: str
    node_facts: dict[str, str]
    dns: ClusterDns
    rotation: LogRotation
    # Processes that one pod may have; zero for no limit.
    pod_max_pids: int
    # The node's addresses, once the control plane has said which range is its own.
    ipam: Callable[[], Ipam | None]
    lookup: Callable[[str, str, str], Any | None]
    event: EventSink
    report: Report
