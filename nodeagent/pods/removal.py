"""Takes back what a pod has on its node: part of it when the pod has ended, and all when it leaves."""

from __future__ import annotations

import shutil

from nodeagent.linux import rmtree
from nodeagent.network.interface import NetworkError
from nodeagent.pods.context import PodContext, log
from nodeagent.pods.model import RELEASE
from nodeagent.pods.sandboxes import Sandbox
from nodeagent.runtime import bundles
from nodeagent.runtime.interface import StartError
from nodeagent.volumes import manager as volumes

# Seconds between attempts to remove a pod: the first, doubling up to the last.
FIRST_RETRY, MAX_RETRY = 0.05, 30.0


class Removal:
    """Every step can be repeated, also by the next agent."""

    def __init__(self, pod_ctx: PodContext, sandbox: Sandbox) -> None:
        self._pod_ctx = pod_ctx
        self._sandbox = sandbox

    async def release(self) -> bool:
        """The pod has ended: its network, cgroup and volumes go (in memory or on disk, they are what an eviction wants
        back); its logs and bundles stay until it is deleted. False after a failure, which is recorded."""
        pod_ctx, state = self._pod_ctx, self._pod_ctx.state
        try:
            await self._sandbox.release()
        except (NetworkError, StartError) as error:
            state.failed(RELEASE, "FailedKillPod", f"error killing pod: {error}")
            return False
        pod_ctx.deps.cgroups.kill(pod_ctx.cgroup)
        if not pod_ctx.deps.cgroups.remove(pod_ctx.cgroup):
            state.failed(RELEASE, "FailedKillPod", "error killing pod: processes are left in its cgroup", at_once=1)
            return False
        state.succeeded(RELEASE)
        try:
            await pod_ctx.deps.pools.deletions.run(volumes.remove, pod_ctx.folder / "volumes")
        except OSError as error:
            log.warning("volumes_left pod=%s error=%s", pod_ctx.uid, error)
        state.released()
        return True

    async def remove(self) -> None:
        """Remove every trace. What resists (a process that the kernel cannot end) is tried for as long as it takes."""
        delay = FIRST_RETRY
        while True:
            try:
                await self._remove_all()
                return
            except (OSError, NetworkError, StartError) as error:
                log.warning("teardown_retry pod=%s delay=%.2f error=%s", self._pod_ctx.uid, delay, error)
                if delay > 1.0:
                    self._pod_ctx.event("FailedKillPod", f"error killing pod: {error}", warning=True)
                await self._pod_ctx.deps.clock.sleep(delay)
                delay = min(delay * 2, MAX_RETRY)

    async def _remove_all(self) -> None:
        pod_ctx = self._pod_ctx
        pod_ctx.deps.cgroups.kill(pod_ctx.cgroup)
        await self._sandbox.release()
        deletions = pod_ctx.deps.pools.deletions
        await deletions.run(volumes.remove, pod_ctx.folder / "volumes")
        if not pod_ctx.deps.cgroups.remove(pod_ctx.cgroup):
            raise OSError("processes are left in the pod's cgroup")
        pod_ctx.deps.cgroups.prune()
        await deletions.run(shutil.rmtree, pod_ctx.logs, ignore_errors=True)
        await deletions.run(bundles.forget_configs, pod_ctx.memory)
        await deletions.run(rmtree.remove, pod_ctx.folder)
