"""The life of running containers: their postStart hook, their probes, and the way they are asked to end.

What becomes of it is written into `Seen.lives` and to disk; what follows from it is for `steps`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from nodeagent.linux.processes import open_process
from nodeagent.pods.context import PodContext
from nodeagent.pods.model import Attempt, ContainerTermination, Fault, LifecycleState
from nodeagent.probes.checks import Target, run_hook
from nodeagent.probes.prober import Prober
from nodeagent.runtime.interface import Handle, StartError
from pinnace.clock import spread

# Seconds for a postStart hook, which kubelet gives no end at all.
POST_START_WITHIN = 3600.0


class LifecycleManager:
    def __init__(self, pod_ctx: PodContext) -> None:
        self._pod_ctx = pod_ctx
        # The started containers by name.
        self.handles: dict[str, Handle] = {}
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}

    def begin(self, name: str, handle: Handle) -> None:
        """A container has started."""
        self.handles[name] = handle
        self._pod_ctx.state.lifecycle_begins(name)
        if not self._pod_ctx.container(name).lifecycle.HasField("postStart"):
            self._watch(name)

    def resume(self, name: str, handle: Handle, lifecycle: LifecycleState) -> None:
        """A container was found running by an agent that has just started. Hooks that were under way run again."""
        self.handles[name] = handle
        told = lifecycle.stopping
        if told is not None and told.hook == "running":
            lifecycle = replace(lifecycle, stopping=replace(told, hook=""))
        if lifecycle.stopping is not None:
            # It is recorded before it is done, so whether it was done is unknown.
            lifecycle = replace(lifecycle, stopping=replace(lifecycle.stopping, killed=False))
        if lifecycle.post_start == "running":
            lifecycle = replace(lifecycle, post_start="")
        self._pod_ctx.state.lifecycle_begins(name, lifecycle)
        if lifecycle.stopping is not None:
            self.terminate(name, lifecycle.stopping)
        elif lifecycle.post_start == "done" or not self._pod_ctx.container(name).lifecycle.HasField("postStart"):
            # All containers of the node are found at once: their probes spread over the first period.
            self._watch(name, jitter=spread)

    def end(self, name: str) -> None:
        """The container has ended: nothing is asked of it any more."""
        self.handles.pop(name, None)
        for task in self._tasks.pop(name, set()):
            task.cancel()

    def close(self) -> None:
        for name in list(self._tasks):
            self.end(name)

    # Hooks

    def post_start(self, name: str) -> None:
        self._change(name, post_start="running")
        self._spawn(name, self._post_start(name))

    async def _post_start(self, name: str) -> None:
        container = self._pod_ctx.container(name)
        result = await run_hook(container.lifecycle.postStart, self._target(name), POST_START_WITHIN)
        self._change(name, post_start="done")
        if result.ok:
            self._watch(name)
            return
        self._pod_ctx.event("FailedPostStartHook", f"PostStartHook failed: {result.message}", warning=True)
        self._change(name, fault=Fault(f"Container {name} failed its postStart hook"))

    def terminate(self, name: str, told: ContainerTermination) -> None:
        """Begin to stop: the preStop hook, if the container has one that has not been run."""
        container = self._pod_ctx.container(name)
        if container.lifecycle.HasField("preStop") and not told.hook and not told.signalled:
            told = replace(told, hook="running")
            self._spawn(name, self._pre_stop(name, told.deadline))
        self._change(name, stopping=told)

    async def _pre_stop(self, name: str, deadline: float) -> None:
        container = self._pod_ctx.container(name)
        within = max(deadline - self._pod_ctx.deps.clock.now(), 0.1)
        result = await run_hook(container.lifecycle.preStop, self._target(name), within)
        if not result.ok:
            self._pod_ctx.event("FailedPreStopHook", f"PreStopHook failed: {result.message}", warning=True)
        told = self._pod_ctx.observed.lifecycle(name).stopping
        if told is not None:
            self._change(name, stopping=replace(told, hook="done"))

    # Signals

    def signal(self, name: str, deadline: float) -> None:
        """The stop signal; from now the container has until `deadline`."""
        told = self._pod_ctx.observed.lifecycle(name).stopping or ContainerTermination(deadline, deadline)
        last = self._pod_ctx.observed.last(name)
        # First: an agent killed in between asks twice, and no program is killed without having been asked.
        self._send(name, last.stop_signal if last is not None else signal.SIGTERM)
        self._change(name, stopping=replace(told, signalled=True, deadline=deadline))

    def kill(self, name: str) -> None:
        told = self._pod_ctx.observed.lifecycle(name).stopping or ContainerTermination(0.0, 0.0)
        self._change(name, stopping=replace(told, killed=True))
        self._send(name, signal.SIGKILL)

    def _send(self, name: str, number: int) -> None:
        handle = self.handles.get(name)
        descriptor = open_process(handle.pid, handle.pid_start) if handle is not None else None
        if descriptor is None:
            return
        try:
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)

    # Probes

    def _watch(self, name: str, jitter: Callable[[float], float] = lambda period: 0.0) -> None:
        container = self._pod_ctx.container(name)
        last = self._pod_ctx.observed.last(name)
        if not any(container.HasField(f"{kind}Probe") for kind in ("startup", "liveness", "readiness")):
            self._change(name, started=True, ready=True)
        elif last is not None:
            self._spawn(name, self._probe(name, last, jitter))

    async def _probe(self, name: str, last: Attempt, jitter: Callable[[float], float]) -> None:
        prober = Prober(
            self._target(name), self._pod_ctx.deps.clock,
            changed=lambda **fields: self._change(name, **fields),
            unhealthy=lambda message: self._unhealthy(name, message),
            slot=lambda: self._pod_ctx.deps.exec_slots.one(self._pod_ctx.uid), jitter=jitter,
        )  # fmt: skip
        started = self._pod_ctx.observed.lifecycle(name).started
        await prober.run(last.started_at or self._pod_ctx.deps.clock.now(), started=started)

    def _unhealthy(self, name: str, message: str) -> None:
        # One that was told to stop is to become so.
        if self._pod_ctx.observed.lifecycle(name).stopping is None:
            self._pod_ctx.event("Unhealthy", message, warning=True)

    def _target(self, name: str) -> Target:
        async def run(command: list[str], within: float) -> tuple[int, str]:
            handle = self.handles.get(name)
            if handle is None:
                raise RuntimeError("the container is not running")
            try:
                return await self._pod_ctx.deps.execute(handle, command, within)
            except StartError as error:
                raise RuntimeError(str(error)) from error

        return Target(self._pod_ctx.address, self._pod_ctx.container(name), run)

    # Shared

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        mine = self._tasks.setdefault(name, set())
        mine.add(task)
        task.add_done_callback(mine.discard)
        self._pod_ctx.mind(task)

    def _change(self, name: str, **fields: Any) -> None:
        self._pod_ctx.state.lifecycle_changed(name, **fields)
