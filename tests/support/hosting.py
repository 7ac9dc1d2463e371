"""A pod's parts on a node without containers: a fake runtime, no network, time that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nodeagent.images.store import Image
from nodeagent.network.addresses import Ipam
from nodeagent.network.interface import Comparison, Deviation, Errors, HostPort, NetworkError, Node, Peer
from nodeagent.network.policies.model import Pod
from nodeagent.node.pools import Pools
from nodeagent.pods.dependencies import WorkerDependencies
from nodeagent.pods.model import Policy
from nodeagent.pods.spec.resolver import ClusterDns
from nodeagent.probes.execslots import ExecSlots
from nodeagent.runtime.cgroups import Cgroups
from nodeagent.runtime.fake import FakeRuntime
from nodeagent.runtime.handlers import NATIVE, Runtimes
from nodeagent.runtime.interface import Handle, LogRotation, Runtime
from pinnace.authentication.v1.authentication_pb2 import TokenRequest
from pinnace.clock import VirtualClock


@dataclass(slots=True)
class FakeNetwork:
    """Records what it was asked for; `fault` is what every call then fails with, `faults` how many have."""

    nodes: list[Node] = field(default_factory=list)
    synced: list[tuple[Peer, ...]] = field(default_factory=list)
    attached: dict[str, tuple[str, ...]] = field(default_factory=dict)
    deviations: list[Deviation] = field(default_factory=list)
    # What every repair finds after the next one.
    again: list[Deviation] = field(default_factory=list)
    # Of parts that each comparison fails at.
    errors: list[NetworkError] = field(default_factory=list)
    # What of the host each comparison finds in the way.
    clash: str = ""
    # What every repair leaves.
    left: list[Deviation] = field(default_factory=list)
    repairs: int = 0
    changed: Callable[[], None] = lambda: None
    names: list[tuple[str, ...]] = field(default_factory=list)
    # Why `setup` alone fails; and `sync` alone, until the next repair.
    unset: str = ""
    unsynced: str = ""
    fault: str = ""
    faults: int = 0

    async def setup(self, node: Node) -> None:
        self._check()
        if self.unset:
            raise NetworkError(self.unset)
        self.nodes.append(node)

    async def attach(self, pod: str, netns: Path, addresses: Sequence[str], ports: Sequence[HostPort] = ()) -> None:
        self._check()
        self.attached[pod] = tuple(addresses)

    def resume(self, pod: str, netns: Path, addresses: Sequence[str], ports: Sequence[HostPort]) -> None: ...

    async def detach(self, pod: str) -> None:
        self._check()
        self.attached.pop(pod, None)

    async def serve_names(self, addresses: Sequence[str]) -> None:
        self._check()
        self.names.append(tuple(addresses))

    async def sync(self, peers: Sequence[Peer]) -> int:
        self._check()
        if self.unsynced:
            raise NetworkError(self.unsynced)
        self.synced.append(tuple(peers))
        return 0

    def watch(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    async def verify(self) -> Comparison:
        self._check()
        return Comparison(list(self.deviations), Errors(self.errors), self.clash)

    async def repair(self) -> Comparison:
        self._check()
        self.repairs += 1
        self.unsynced = ""
        found, self.deviations = self.deviations, self.again
        if found:
            # The kernel notifies of repairs, too.
            self.changed()
        return Comparison(found, Errors(self.errors), self.clash, self.left)

    def _check(self) -> None:
        if self.fault:
            self.faults += 1
            raise NetworkError(self.fault)


@dataclass(slots=True)
class FakeIsolation:
    """Records which pods are isolated, and the pods that were attached when they were."""

    network: FakeNetwork
    pods: dict[str, Pod] = field(default_factory=dict)
    attached: dict[str, bool] = field(default_factory=dict)
    # Why `setup` alone fails.
    unset: str = ""
    fault: str = ""

    async def isolate(self, uid: str, pod: Pod) -> None:
        if self.fault:
            raise NetworkError(self.fault)
        self.pods[uid] = pod
        self.attached[uid] = uid in self.network.attached

    def update(self, uid: str, pod: Pod | None) -> None:
        self.pods.pop(uid, None)
        if pod is not None:
            self.pods[uid] = pod

    def relabel(self, uid: str, labels: dict[str, str]) -> None:
        self.pods[uid] = replace(self.pods[uid], labels=labels)


class EveryImage:
    """Image store and puller of a node that has every image."""

    def local(self, reference: str, policy: str) -> Image:
        return Image("sha256:1", (reference,), {"Cmd": ["true"]}, ("sha256:2",))

    def lower_dirs(self, image: Image) -> tuple[str, ...]:
        return ("/layer",)

    def read_file(self, image: Image, name: str) -> bytes:
        return b""


@dataclass(slots=True)
class Host:
    """A node's services, and what they were asked for."""

    folder: Path
    runtime: Runtime | None = None
    clock: VirtualClock = field(default_factory=VirtualClock)
    network: FakeNetwork = field(default_factory=FakeNetwork)
    ipam: Ipam = field(default_factory=lambda: Ipam("10.244.1.0/24"))
    isolation: FakeIsolation = field(init=False)
    events: list[tuple[str, str]] = field(default_factory=list)
    reports: list[tuple[Any, bool]] = field(default_factory=list)
    # Commands that probes and hooks ran, and exit code and output by a command's first word.
    executed: list[list[str]] = field(default_factory=list)
    token_requests: list[TokenRequest] = field(default_factory=list)
    token_failure: Exception | None = None
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    # A command ends once the event under its first word is set, if there is one.
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    # Set while pods reach Services and names.
    serving: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.isolation = FakeIsolation(self.network)
        self.serving.set()

    async def _serving(self) -> None:
        await self.serving.wait()

    def deps(self, *, images: Any = None, puller: Any = None) -> WorkerDependencies:
        async def execute(handle: Handle, command: list[str], within: float) -> tuple[int, str]:
            self.executed.append(command)
            if command[0] in self.gates:
                await self.gates[command[0]].wait()
            return self.answers.get(command[0], (0, ""))

        async def create_token(request: TokenRequest) -> TokenRequest:
            self.token_requests.append(request)
            if self.token_failure is not None:
                raise self.token_failure
            answer = TokenRequest()
            answer.CopyFrom(request)
            answer.status.token = f"token-{len(self.token_requests)}"
            return answer

        cgroups = self.folder / "cgroups"
        cgroups.mkdir(exist_ok=True)
        runtimes = Runtimes({NATIVE: self.runtime or FakeRuntime(self.clock)})
        return WorkerDependencies(
            runtimes=runtimes, execute=execute, network=self.network, isolation=self.isolation, serving=self._serving,
            images=images, puller=puller,
            cgroups=Cgroups("pinnace", cgroups), clock=self.clock, pools=Pools(), exec_slots=ExecSlots(), policy=Policy(), state=self.folder, memory=self.folder / "memory",
            logs=self.folder / "logs", local_volumes=self.folder / "local-volumes", host_ips=lambda: ("192.0.2.1",), node_facts={"hostname": "n1", "capacity.memory": str(1 << 30)},
            dns=ClusterDns, rotation=LogRotation(), pod_max_pids=0, ipam=lambda: self.ipam,
            lookup=lambda kind, namespace, name: None, services=lambda pod: {}, create_token=create_token,
            event=lambda pod, reason, message, warning: self.events.append((reason, message)),
            report=lambda pod, status, removed: self.reports.append((status, removed)),
        )  # fmt: skip
