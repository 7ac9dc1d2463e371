"""One pod's worker: asks `steps` what to do, does it, and reports; one task for each pod.

Everything it must remember is on disk before it matters (`checkpoint`, and what the runtime writes into bundles). A new
worker over the same folder takes up where the last one stopped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nodeagent.eviction.usage import Place
from nodeagent.network.interface import NetworkError
from nodeagent.pods import resize, steps
from nodeagent.pods import status as statuses
from nodeagent.pods.containers import Containers
from nodeagent.pods.context import PodContext
from nodeagent.pods.dependencies import WorkerDependencies
from nodeagent.pods.model import Attempt, Eviction, ObservedState, PendingResize, StepFailure
from nodeagent.pods.removal import Removal
from nodeagent.pods.resizer import Resizer
from nodeagent.pods.sandboxes import Sandbox
from nodeagent.runtime import bundles
from nodeagent.runtime.interface import Handle
from nodeagent.volumes.content import VolumeError
from pinnace.api.v1.nodes_pb2 import PodToken
from pinnace.core.v1.pod_pb2 import Pod


class Worker:
    def __init__(self, deps: WorkerDependencies, pod: Any) -> None:
        self._deps = deps
        self._pod_ctx = PodContext(deps, pod)
        self._state = self._pod_ctx.state
        self._sandbox = Sandbox(self._pod_ctx)
        self._containers = Containers(self._pod_ctx, whole=self._sandbox.whole)
        self._resizer = Resizer(self._pod_ctx)
        self._removal = Removal(self._pod_ctx, self._sandbox)
        # Called when the pod has given back what it held.
        self.on_released: Callable[[], None] = lambda: None
        self.uid = self._pod_ctx.uid
        self.folder = self._pod_ctx.folder
        self.gone = False
        self._reported: Any = None
        self._recover()

    @property
    def pod(self) -> Any:
        """With the resources that are allocated to it."""
        return self._pod_ctx.pod

    @property
    def desired(self) -> Any:
        """As assigned: with the resources that it is to have."""
        return self._pod_ctx.desired

    @property
    def observed(self) -> ObservedState:
        return self._pod_ctx.observed

    @property
    def handles(self) -> dict[str, Handle]:
        """The running containers by name."""
        return self._containers.lifecycles.handles

    @property
    def address(self) -> str:
        """The pod's own address; the node's of one in the host's network; empty before it has one."""
        return self._pod_ctx.address

    def current(self) -> Pod:
        """The pod with the status that was last reported."""
        found = Pod()
        found.CopyFrom(self.pod)
        if self._reported is not None:
            found.status.CopyFrom(self._reported)
        return found

    def log_of(self, container: str, number: int) -> Path:
        return self._pod_ctx.log_of(container, number)

    # What the manager tells

    def update(self, pod: Any) -> None:
        """A newer version of the pod, or the same pod with its objects changed."""
        if self._reported is not None and statuses.overridden(pod.status, self._reported):
            self._deps.report(pod, self._reported, False)
        before = self.pod
        self._pod_ctx.wants(pod)
        if _deletion(pod.metadata) not in (None, _deletion(before.metadata)):
            self._state.leaves_at(self._deps.clock.now() + pod.metadata.deletionGracePeriodSeconds)
        if before.metadata.labels != pod.metadata.labels:
            self._sandbox.relabel()
        if _shown(before) != _shown(pod):
            self._pod_ctx.refresh_volumes()
        self._state.changed.set()

    def settled(self) -> bool:
        """Whether nothing of its resources is to be decided: they are what it wants, or it ends."""
        ends = self.gone or self.observed.eviction is not None or self.desired.metadata.deletionTimestamp.seconds != 0
        return self.desired is self.pod or ends or self.over()

    def allocate(self) -> None:
        """The node has room for the resources that it wants. Raises OSError."""
        self._pod_ctx.allocate()
        self._pod_ctx.refresh_volumes()

    def resize_pends(self, pending: PendingResize | None) -> None:
        """The node does not allocate what the pod wants, or (None) it wants nothing else any more."""
        if pending != self.observed.resize_pending:
            self._resizer.pends(pending, self._reported or self._state.checkpoint.load_status())

    def take_tokens(self, tokens: Iterable[PodToken]) -> None:
        """Tokens of its account that came with the pod."""
        self._pod_ctx.tokens.take(tokens)

    def connected(self) -> None:
        """There is a session with the control plane."""
        self._pod_ctx.tokens.connected()

    def hold(self, until: float | None) -> None:
        """Do not make the pod's sandbox before `until`; None: the control plane has confirmed the pod."""
        self._state.held(until)

    def leave(self) -> None:
        """The pod is no longer assigned to this node."""
        self.gone = True
        self._state.changed.set()

    def mirrored(self, mirror: Any) -> None:
        """The API's picture of this static pod, as it is there now: what it lacks is said again."""
        own = self._reported
        if own is not None and (mirror.status.phase != own.phase or statuses.overridden(mirror.status, own)):
            self._deps.report(self.pod, own, False)

    def evict(self, *, reason: str, message: str, grace: float, disruption: bool = True) -> None:
        """End the pod as Failed, whatever its policy; `grace` in seconds, 0 kills at once. The first word counts."""
        deadline = self._deps.clock.now() + grace if grace > 0 else 0.0
        self._end(Eviction(reason, message, deadline, disruption), message)

    def reject(self, *, reason: str, message: str) -> None:
        """Never begin the pod: the node cannot have it."""
        self._end(Eviction(reason, f"Pod was rejected: {message}", 0.0), message)

    def _end(self, eviction: Eviction, message: str) -> None:
        if self.observed.eviction is None and not self.over():
            self._state.evicted(eviction, message)

    def over(self) -> bool:
        """Whether nothing of the pod runs any more, and nothing will."""
        return self.observed.released and not self.handles

    def evicted(self) -> bool:
        """Whether the pod was told to end for good, by this agent or an earlier one."""
        return self.observed.eviction is not None

    def cleaned(self) -> bool:
        """Whether nothing of the pod is being deleted: of one that is over, its volumes and writable layers are gone."""
        return not self._pod_ctx.leftovers.busy

    def place(self) -> Place:
        """Where what the pod uses can be measured."""
        runs = tuple((name, item.number) for name, attempts in self.observed.attempts.items() for item in attempts)
        return Place(self.folder, self._pod_ctx.logs, self._pod_ctx.cgroup, runs)

    def nudge(self) -> None:
        self._state.retry_now()

    def objects_changed(self) -> None:
        self._pod_ctx.refresh_volumes()
        self.nudge()

    # The loop

    async def run(self) -> None:
        """Work until the pod is gone from this node."""
        try:
            await self._deps.pools.bundles.run(bundles.forget_ended, self._state.checkpoint.bundles())
            await self._containers.recover()
            self._removal.resume()
            while True:
                self._state.changed.clear()
                self._pod_ctx.check()
                step = self._next_step()
                if isinstance(step, steps.Teardown):
                    await self._teardown()
                    return
                if isinstance(step, steps.Wait):
                    self._publish()
                    await self._wait(step.until)
                else:
                    await self._do(step)
        finally:
            self._containers.close()
            self._pod_ctx.close()

    def _next_step(self) -> steps.Step:
        deps = self._deps
        return steps.next_step(self.pod, gone=self.gone, observed=self.observed, now=deps.clock.now(), policy=deps.policy)

    async def _wait(self, until: float | None) -> None:
        clock = self._deps.clock
        # A moment longer than `until`, so that the deadline has passed at the next step.
        await clock.wait(self._state.changed, None if until is None else max(until - clock.now(), 0) + 0.005)

    def _publish(self) -> None:
        status = self._status()
        if status != self._reported:
            self._reported = status
            self._state.checkpoint.save_status(status)
            self._deps.report(self.pod, status, False)

    def _status(self) -> Any:
        return statuses.pod_status(
            self.pod, gone=self.gone, observed=self.observed, now=self._deps.clock.now(), host_ips=self._deps.host_ips(),
            policy=self._deps.policy, previous=self._reported or self._state.checkpoint.load_status() or self.pod.status,
        )  # fmt: skip

    async def _do(self, step: steps.Step) -> None:
        lifecycles = self._containers.lifecycles
        match step:
            case steps.MountVolumes():
                await self._mount_volumes()
            case steps.CreateSandbox():
                await self._sandbox.create()
            case steps.Start():
                await self._containers.start(step)
            case steps.PostStart():
                lifecycles.post_start(step.name)
            case steps.Terminate():
                self._pod_ctx.event("Killing", step.why or f"Stopping container {step.name}")
                lifecycles.terminate(step.name, step.told)
            case steps.Signal():
                lifecycles.signal(step.name, step.deadline)
            case steps.Kill():
                lifecycles.kill(step.name)
            case steps.Resize():
                await self._resizer.apply()
            case steps.FinishResize():
                self._state.resize_finished()
                self._pod_ctx.event("ResizeCompleted", f"Pod resize completed: {resize.summary(self.pod)}")
            case steps.RestartAll():
                self._restart_all(step.cause)
            case steps.Release():
                await self._release()

    def _restart_all(self, cause: Attempt) -> None:
        text = f"Container {cause.name} exited with code {cause.code}: restarting all containers"
        self._pod_ctx.event("RestartAllContainers", text)
        self._state.all_restarted()

    async def _mount_volumes(self) -> None:
        pod_ctx = self._pod_ctx
        layers = self._containers.volume_layers()
        if isinstance(layers, StepFailure):
            self._state.waits("", layers)
            return
        if (failure := pod_ctx.token_failure()) is not None:
            self._state.waits("", failure)
            return
        try:
            pod_ctx.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if pod_ctx.pod.spec.volumes:
                await pod_ctx.make_volumes(layers)
        except (OSError, VolumeError) as error:
            self._state.failed("", "FailedMount", str(error))
            return
        self._state.volumes_made()

    async def _release(self) -> None:
        """The pod has ended; nothing is pulled for it any more, and no token renewed."""
        self._containers.images.close()
        self._pod_ctx.drop_tokens()
        if await self._removal.release():
            self.on_released()

    async def _teardown(self) -> None:
        """Report the pod as gone once nothing of it is left: another may take its place then."""
        await self._removal.remove(slow=self._publish)
        self._deps.report(self.pod, self._status(), True)

    # After a restart of the agent

    def _recover(self) -> None:
        pod_ctx = self._pod_ctx
        if (deletion := _deletion(self.pod.metadata)) is not None:
            # It may have been told long ago.
            self._state.leaves_at(min(float(deletion[0]), self._deps.clock.now() + deletion[1]))
        pod_ctx.tokens.resume(pod_ctx.mounter.shown_tokens(self.pod))
        if not self._state.restore():
            return
        observed, ipam = pod_ctx.observed, pod_ctx.deps.ipam()
        if ipam is not None and not observed.released:
            with contextlib.suppress(NetworkError):
                ipam.hold(pod_ctx.uid, *observed.addresses)
        if self._sandbox.whole():
            self._state.sandbox_found()
            if not observed.released:
                self._sandbox.resume()


def _deletion(meta: Any) -> tuple[int, int] | None:
    """When a deleted pod is to be gone, by the control plane's clock, and how long it has from when it is told."""
    return (meta.deletionTimestamp.seconds, meta.deletionGracePeriodSeconds) if meta.deletionTimestamp.seconds else None


def _shown(pod: Any) -> tuple[Any, ...]:
    """What of a pod its volumes depend on: what they show, and the mount points that they need."""
    return pod.metadata.labels, pod.metadata.annotations, len(pod.spec.ephemeralContainers)
