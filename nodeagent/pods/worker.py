"""One pod's worker: asks `steps` what to do, does it, and reports; one task for each pod.

Everything it must remember is on disk before it matters (`journal`, and what the runtime writes into bundles). A new
worker over the same folder takes up where the last one stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path
from typing import Any

from nodeagent import trees
from nodeagent.eviction.usage import Place
from nodeagent.network.seam import NetworkError
from nodeagent.pods import kept, steps
from nodeagent.pods import status as statuses
from nodeagent.pods.containers import Containers
from nodeagent.pods.hosted import HostedPod, log
from nodeagent.pods.model import RELEASE, Eviction, Problem, Seen
from nodeagent.pods.sandboxes import Sandbox
from nodeagent.pods.services import Services
from nodeagent.runtime.seam import Handle, StartError
from nodeagent.runtime.select import NATIVE
from nodeagent.volumes import manager as volumes
from nodeagent.volumes.content import VolumeError

TEARDOWN_TRIES = 50


class Worker:
    def __init__(self, services: Services, pod: Any) -> None:
        self._s = services
        self._hosted = HostedPod(services, pod)
        self._sandbox = Sandbox(self._hosted)
        self._containers = Containers(self._hosted, whole=self._sandbox.whole)
        self.uid = self._hosted.uid
        self.folder = self._hosted.folder
        self.gone = False
        self._reported: Any = None
        self._kept = self.folder / "status.pb"
        self._recover()

    @property
    def pod(self) -> Any:
        return self._hosted.pod

    @property
    def seen(self) -> Seen:
        return self._hosted.seen

    @property
    def handles(self) -> dict[str, Handle]:
        """The running containers by name."""
        return self._containers.lives.handles

    def log_of(self, container: str, number: int) -> Path:
        return self._hosted.log_of(container, number)

    # What the manager tells

    def update(self, pod: Any) -> None:
        """A newer version of the pod, or the same pod with its objects changed."""
        if self._reported is not None and statuses.overridden(pod.status, self._reported):
            self._s.report(pod, self._reported, False)
        before, self._hosted.pod = self.pod.metadata, pod
        if _deletion(pod.metadata) not in (None, _deletion(before)):
            self.seen.leaves_at = self._s.clock.now() + pod.metadata.deletionGracePeriodSeconds
        if (before.labels, before.annotations) != (pod.metadata.labels, pod.metadata.annotations):
            self._hosted.mounter.refresh(pod)
        self._hosted.changed.set()

    def leave(self) -> None:
        """The pod is no longer assigned to this node."""
        self.gone = True
        self._hosted.changed.set()

    def mirrored(self, mirror: Any) -> None:
        """The API's picture of this static pod, as it is there now: what it lacks is said again."""
        own = self._reported
        if own is not None and (mirror.status.phase != own.phase or statuses.overridden(mirror.status, own)):
            self._s.report(self.pod, own, False)

    def evict(self, *, reason: str, message: str, grace: float, disruption: bool = True) -> None:
        """End the pod as Failed, whatever its policy; `grace` in seconds, 0 kills at once. The first word counts."""
        deadline = self._s.clock.now() + grace if grace > 0 else 0.0
        self._end(Eviction(reason, message, deadline, disruption), message)

    def reject(self, *, reason: str, message: str) -> None:
        """Never begin the pod: the node cannot have it."""
        self._end(Eviction(reason, f"Pod was rejected: {message}", 0.0), message)

    def _end(self, eviction: Eviction, message: str) -> None:
        if self.seen.eviction is None and not self.over():
            self.seen.eviction = eviction
            self._hosted.journal.save_eviction(eviction)
            self._hosted.event(eviction.reason, message, warning=True)
            self._hosted.changed.set()

    def over(self) -> bool:
        """Whether nothing of the pod runs any more, and nothing will."""
        return self.seen.released and not self.handles

    def place(self) -> Place:
        """Where what the pod uses can be measured."""
        runs = tuple((name, item.number) for name, attempts in self.seen.attempts.items() for item in attempts)
        return Place(self.folder, self._hosted.logs, self._hosted.cgroup, runs)

    def nudge(self) -> None:
        self._hosted.forget_waits()

    def objects_changed(self) -> None:
        self._hosted.mounter.refresh(self.pod)
        self.nudge()

    # The loop

    async def run(self) -> None:
        """Work until the pod is gone from this node."""
        try:
            await self._containers.recover()
            while True:
                self._hosted.changed.clear()
                self._hosted.check()
                step = steps.next_step(self.pod, gone=self.gone, seen=self.seen, now=self._s.clock.now(), policy=self._s.policy)
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

    async def _wait(self, until: float | None) -> None:
        if until is None:
            await self._hosted.changed.wait()
            return
        with contextlib.suppress(TimeoutError):
            # A moment more than asked, so that the deadline has passed when we look again.
            async with asyncio.timeout(max(until - self._s.clock.now(), 0) + 0.005):
                await self._hosted.changed.wait()

    def _publish(self) -> None:
        status = self._status()
        if status != self._reported:
            self._reported = status
            kept.write(self._kept, status.SerializeToString(), sync=False)
            self._s.report(self.pod, status, False)

    def _status(self) -> Any:
        return statuses.pod_status(
            self.pod, gone=self.gone, seen=self.seen, now=self._s.clock.now(), host_ip=self._s.host_ip,
            policy=self._s.policy, previous=self._reported or kept.status(self._kept) or self.pod.status,
        )  # fmt: skip

    async def _do(self, step: steps.Step) -> None:
        lives = self._containers.lives
        match step:
            case steps.MountVolumes():
                await self._mount_volumes()
            case steps.CreateSandbox():
                await self._sandbox.create()
            case steps.Start():
                await self._containers.start(step)
            case steps.PostStart():
                lives.post_start(step.name)
            case steps.Terminate():
                self._hosted.event("Killing", step.why or f"Stopping container {step.name}")
                lives.terminate(step.name, step.told)
            case steps.Signal():
                lives.signal(step.name, step.deadline)
            case steps.Kill():
                lives.kill(step.name)
            case steps.Release():
                await self._release()

    async def _mount_volumes(self) -> None:
        hosted = self._hosted
        layers = self._containers.volume_layers()
        if isinstance(layers, Problem):
            hosted.seen.problems[""] = layers
            return
        try:
            hosted.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            hosted.volumes = await asyncio.to_thread(hosted.mounter.prepare, hosted.pod, layers)
        except (OSError, VolumeError) as error:
            hosted.fail("", "FailedMount", str(error))
            return
        hosted.seen.problems.pop("", None)
        hosted.seen.volumes = True

    async def _release(self) -> None:
        """The pod has ended: its network, cgroup and volumes go (in memory or on disk, they are what an eviction wants
        back); its logs and bundles stay until it is deleted. Nothing is pulled for it any more."""
        self._containers.images.close()
        try:
            await self._sandbox.release()
        except (NetworkError, StartError) as error:
            self._hosted.fail(RELEASE, "FailedKillPod", f"error killing pod: {error}")
            return
        self.seen.problems.pop(RELEASE, None)
        self._s.cgroups.remove(self._hosted.cgroup)
        try:
            await asyncio.to_thread(volumes.remove, self.folder / "volumes")
        except OSError as error:
            log.warning("volumes_left pod=%s error=%s", self.uid, error)
        self.seen.released = True
        # Unsaved, it is given back once more by an agent that starts again.
        with contextlib.suppress(OSError):
            self._hosted.save_sandbox()

    async def _teardown(self) -> None:
        """Remove every trace, then say so. What resists is tried again; the pod is not reported gone before."""
        for number in range(TEARDOWN_TRIES):
            try:
                await self._remove_all()
                break
            except (OSError, NetworkError, StartError) as error:
                log.warning("teardown_retry pod=%s try=%d error=%s", self.uid, number, error)
                await self._s.clock.sleep(min(0.05 * 2**number, 5.0))
        else:
            log.error("teardown_failed pod=%s folder=%s", self.uid, self.folder)
        self.seen.released = True
        self._s.report(self.pod, self._status(), True)

    async def _remove_all(self) -> None:
        hosted = self._hosted
        hosted.s.cgroups.kill(hosted.cgroup)
        await self._sandbox.release()
        await asyncio.to_thread(volumes.remove, hosted.folder / "volumes")
        if not hosted.s.cgroups.remove(hosted.cgroup):
            raise OSError("processes are left in the pod's cgroup")
        hosted.s.cgroups.prune()
        await asyncio.to_thread(shutil.rmtree, hosted.logs, ignore_errors=True)
        await asyncio.to_thread(trees.remove, hosted.folder)

    # After a restart of the agent

    def _recover(self) -> None:
        hosted = self._hosted
        if (deletion := _deletion(self.pod.metadata)) is not None:
            # It may have been told long ago.
            hosted.seen.leaves_at = min(float(deletion[0]), self._s.clock.now() + deletion[1])
        record = hosted.journal.load_sandbox()
        hosted.seen.eviction = hosted.journal.load_eviction()
        reported = kept.status(self._kept)
        if reported is not None and reported.HasField("startTime"):
            hosted.seen.started_at = float(reported.startTime.seconds)
        if record is None:
            return
        seen = hosted.seen
        seen.started_at, seen.released, seen.address = record["started_at"], record["released"], record["address"]
        hosted.handler = record.get("handler", NATIVE)
        ipam = hosted.s.ipam()
        if ipam is not None and seen.address and not seen.released:
            with contextlib.suppress(NetworkError):
                ipam.hold(hosted.uid, seen.address)
        seen.sandbox = self._sandbox.whole()
        if seen.sandbox and not seen.released:
            self._sandbox.resume()


def _deletion(meta: Any) -> tuple[int, int] | None:
    """When a deleted pod is to be gone, by the control plane's clock, and how long it has from when it is told."""
    return (meta.deletionTimestamp.seconds, meta.deletionGracePeriodSeconds) if meta.deletionTimestamp.seconds else None
