"""A pod's parts on a node without containers: a fake runtime, no network, time that stands still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodeagent.network.ipam import Ipam
from nodeagent.network.seam import HostPort, NetworkError, Node, Peer
from nodeagent.pods.model import Policy
from nodeagent.pods.resolver import ClusterDns
from nodeagent.pods.services import Services
from nodeagent.runtime.cgroups import Cgroups
from nodeagent.runtime.fake import FakeRuntime
from nodeagent.runtime.seam import Handle, LogRotation, Runtime
from nodeagent.runtime.select import NATIVE, Runtimes
from pinnace.clock import VirtualClock


@dataclass(slots=True)
class FakeNetwork:
    """Remembers who is attached; `fault` is what every call then fails with, `faults` how many have."""

    attached: dict[str, str] = field(default_factory=dict)
    fault: str = ""
    faults: int = 0

    async def setup(self, node: Node) -> None: ...

    async def attach(self, pod: str, netns: Path, address: str, ports: Sequence[HostPort] = ()) -> None:
        self._check()
        self.attached[pod] = address

    def resume(self, pod: str, ports: Sequence[HostPort]) -> None: ...

    async def detach(self, pod: str) -> None:
        self._check()
        self.attached.pop(pod, None)

    async def sync(self, peers: Sequence[Peer]) -> int:
        return 0

    def _check(self) -> None:
        if self.fault:
            self.faults += 1
            raise NetworkError(self.fault)


@dataclass(slots=True)
class Host:
    """What a node's services were told, and the services."""

    folder: Path
    runtime: Runtime | None = None
    clock: VirtualClock = field(default_factory=VirtualClock)
    network: FakeNetwork = field(default_factory=FakeNetwork)
    ipam: Ipam = field(default_factory=lambda: Ipam("10.244.1.0/24"))
    events: list[tuple[str, str]] = field(default_factory=list)
    reports: list[tuple[Any, bool]] = field(default_factory=list)

    def services(self, *, images: Any = None, puller: Any = None) -> Services:
        async def execute(handle: Handle, command: list[str], within: float) -> tuple[int, str]:
            return 0, ""

        cgroups = self.folder / "cgroups"
        cgroups.mkdir(exist_ok=True)
        runtimes = Runtimes({NATIVE: self.runtime or FakeRuntime(self.clock)})
        return Services(
            runtimes=runtimes, execute=execute, network=self.network, images=images, puller=puller,
            cgroups=Cgroups("pinnace", cgroups), clock=self.clock, policy=Policy(), state=self.folder,
            logs=self.folder / "logs", host_ip="192.0.2.1", node_facts={"hostname": "n1", "capacity.memory": str(1 << 30)},
            dns=ClusterDns(), rotation=LogRotation(), pod_max_pids=0, ipam=lambda: self.ipam,
            lookup=lambda kind, namespace, name: None,
            event=lambda pod, reason, message, warning: self.events.append((reason, message)),
            report=lambda pod, status, removed: self.reports.append((status, removed)),
        )  # fmt: skip
