"""What a pod's worker needs of the node: interfaces, handed in once by the agent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodeagent.images.puller import Puller
from nodeagent.images.store import ImageStore
from nodeagent.network.addresses import Ipam
from nodeagent.network.interface import Network, PodIsolation
from nodeagent.node.pools import Pools
from nodeagent.pods.model import Policy
from nodeagent.pods.spec.resolver import ClusterDns
from nodeagent.probes.execslots import ExecSlots
from nodeagent.runtime.cgroups import Cgroups
from nodeagent.runtime.handlers import Runtimes
from nodeagent.runtime.interface import Handle, LogRotation
from nodeagent.volumes.accounttokens import Create
from pinnace.clock import Clock

# (pod, reason, message, warning)
EventSink = Callable[[Any, str, str, bool], None]
# (pod, status, removed)
Report = Callable[[Any, Any, bool], None]
# (container, command, seconds) to exit code and output; raises TimeoutError and StartError.
Execute = Callable[[Handle, list[str], float], Awaitable[tuple[int, str]]]


@dataclass(frozen=True, slots=True)
class WorkerDependencies:
    runtimes: Runtimes
    execute: Execute
    network: Network
    isolation: PodIsolation
    # Waits until the node serves Services and names to pods, or for some seconds.
    serving: Callable[[], Awaitable[None]]
    images: ImageStore
    puller: Puller
    cgroups: Cgroups
    clock: Clock
    pools: Pools
    exec_slots: ExecSlots
    policy: Policy
    state: Path
    # On a tmpfs; see `node.memorydir`.
    memory: Path
    logs: Path
    # Where local volumes are that are made for claims; None: nowhere.
    local_volumes: Path | None
    # The node's addresses as they are now, one of each address family, the primary one first.
    host_ips: Callable[[], tuple[str, ...]]
    node_facts: dict[str, str]
    # DNS settings, as the control plane said them last.
    dns: Callable[[], ClusterDns]
    rotation: LogRotation
    # Processes that one pod may have; zero for no limit.
    pod_max_pids: int
    # The node's addresses, once the control plane has said which range is its own.
    ipam: Callable[[], Ipam | None]
    lookup: Callable[[str, str, str], Any | None]
    # Environment variables of a pod by which its containers find the API and Services.
    services: Callable[[Any], Mapping[str, str]]
    # A token of a service account. Raises AioRpcError, RuntimeError.
    create_token: Create
    event: EventSink
    report: Report
