"""Takes back what a pod has on its node: part of it when the pod has ended, and all when it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nodeagent.network.interface import NetworkError
from nodeagent.node.deletion import delete_tree
from nodeagent.pods.context import PodContext, log
from nodeagent.pods.model import RELEASE
from nodeagent.pods.sandboxes import Sandbox
from nodeagent.runtime import bundles
from nodeagent.runtime.interface import StartError
from nodeagent.volumes import manager as volumes

# Seconds between attempts to remove a pod: the first, doubling up to the last.
FIRST_RETRY, MAX_RETRY = 0.05, 30.0
# Seconds that a deletion may take before the pod is reported as it is meanwhile.
SLOW = 1.0


class Removal:
    """Every step can be repeated, also by the next agent."""

    def __init__(self, pod_ctx: PodContext, sandbox: Sandbox) -> None:
        self._pod_ctx = pod_ctx
        self._sandbox = sandbox

    async def release(self) -> bool:
        """The pod has ended: its network, cgroup and volumes go (in memory or on disk, they are what an eviction wants
        back); its logs and bundles stay until it is deleted. False after a failure, which is recorded.

        The volumes go next to the loop: a pod with millions of files has ended before they are deleted."""
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
        state.released()
        self.resume()
        return True

    def resume(self) -> None:
        """Delete the volumes of a pod that was released, where that is still to be done."""
        folder = self._pod_ctx.folder / "volumes"
        if self._pod_ctx.observed.released and folder.exists():
            self._pod_ctx.leftovers.release(folder)

    async def remove(self, slow: Callable[[], None]) -> None:
        """Remove every trace. What resists (a process that the kernel cannot end) is tried for as long as it takes.

        `slow` is called when nothing of the pod runs any more and its files take a while."""
        await self._persistently(self._end_all)
        self._pod_ctx.state.released()
        deletion = asyncio.ensure_future(self._persistently(self._delete_all, first=self._end_all))
        try:
            await asyncio.wait([deletion], timeout=SLOW)
            if not deletion.done():
                slow()
            await deletion
        finally:
            deletion.cancel()

    async def _persistently(
        self, step: Callable[[], Awaitable[None]], first: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Until it succeeds; `first` is repeated before each further try: what failed may be mounted again, say."""
        delay, tries = FIRST_RETRY, 0
        while True:
            try:
                if first is not None and tries:
                    await first()
                await step()
                return
            except (OSError, NetworkError, StartError) as error:
                log.warning("teardown_retry pod=%s delay=%.2f error=%s", self._pod_ctx.uid, delay, error)
                if delay > 1.0:
                    self._pod_ctx.event("FailedKillPod", f"error killing pod: {error}", warning=True)
                tries += 1
                await self._pod_ctx.deps.clock.sleep(delay)
                delay = min(delay * 2, MAX_RETRY)

    async def _end_all(self) -> None:
        pod_ctx = self._pod_ctx
        pod_ctx.deps.cgroups.kill(pod_ctx.cgroup)
        await self._sandbox.release()
        if not pod_ctx.deps.cgroups.remove(pod_ctx.cgroup):
            raise OSError("processes are left in the pod's cgroup")
        pod_ctx.deps.cgroups.prune()

    async def _delete_all(self) -> None:
        pod_ctx = self._pod_ctx
        share = pod_ctx.deps.pools.deletions.of(pod_ctx.uid)
        await pod_ctx.leftovers.done()
        await share.run(volumes.unmount, pod_ctx.folder / "volumes")
        await delete_tree(share, pod_ctx.logs)
        await share.run(bundles.forget_configs, pod_ctx.memory)
        await delete_tree(share, pod_ctx.folder)
