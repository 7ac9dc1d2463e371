"""The life of running containers: their postStart hook, their probes, and the way they are asked to end.

What becomes of it is written into `Seen.lives` and to disk; what follows from it is for `steps`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from nodeagent.pods.hosted import HostedPod
from nodeagent.pods.model import Attempt, Fault, Life, Stopping
from nodeagent.probes.checks import Target, check
from nodeagent.probes.prober import Prober
from nodeagent.runtime.native.processes import open_process
from nodeagent.runtime.seam import Handle, StartError

# Seconds for a postStart hook, which kubelet gives no end at all.
POST_START_WITHIN = 3600.0


class Lives:
    def __init__(self, hosted: HostedPod) -> None:
        self._hosted = hosted
        # The started containers by name.
        self.handles: dict[str, Handle] = {}
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}

    def begin(self, name: str, handle: Handle) -> None:
        """A container has started."""
        self.handles[name] = handle
        self._hosted.seen.lives[name] = Life()
        if not self._hosted.container(name).lifecycle.HasField("postStart"):
            self._watch(name)

    def resume(self, name: str, handle: Handle, life: Life) -> None:
        """A container was found running by an agent that has just started. Hooks that were under way run again."""
        self.handles[name] = handle
        told = life.stopping
        if told is not None and told.hook == "running":
            life = replace(life, stopping=replace(told, hook=""))
        if life.stopping is not None:
            # It is booked before it is done, so nobody knows whether it was.
            life = replace(life, stopping=replace(life.stopping, killed=False))
        if life.post_start == "running":
            life = replace(life, post_start="")
        self._hosted.seen.lives[name] = life
        if life.stopping is not None:
            self.terminate(name, life.stopping)
        elif life.post_start == "done" or not self._hosted.container(name).lifecycle.HasField("postStart"):
            self._watch(name)

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
        container = self._hosted.container(name)
        result = await check(container.lifecycle.postStart, self._target(name), POST_START_WITHIN)
        self._change(name, post_start="done")
        if result.ok:
            self._watch(name)
            return
        self._hosted.event("FailedPostStartHook", f"PostStartHook failed: {result.message}", warning=True)
        self._change(name, fault=Fault(f"Container {name} failed its postStart hook"))

    def terminate(self, name: str, told: Stopping) -> None:
        """Begin to stop: the preStop hook, if the container has one that has not been run."""
        container = self._hosted.container(name)
        if container.lifecycle.HasField("preStop") and not told.hook and not told.signalled:
            told = replace(told, hook="running")
            self._spawn(name, self._pre_stop(name, told.deadline))
        self._change(name, stopping=told)

    async def _pre_stop(self, name: str, deadline: float) -> None:
        container = self._hosted.container(name)
        within = max(deadline - self._hosted.s.clock.now(), 0.1)
        result = await check(container.lifecycle.preStop, self._target(name), within)
        if not result.ok:
            self._hosted.event("FailedPreStopHook", f"PreStopHook failed: {result.message}", warning=True)
        told = self._hosted.seen.life(name).stopping
        if told is not None:
            self._change(name, stopping=replace(told, hook="done"))

    # Signals

    def signal(self, name: str, deadline: float) -> None:
        """The stop signal; from now the container has until `deadline`."""
        told = self._hosted.seen.life(name).stopping or Stopping(deadline, deadline)
        last = self._hosted.seen.last(name)
        # First: an agent killed in between asks twice, and no program is killed without having been asked.
        self._send(name, last.stop_signal if last is not None else signal.SIGTERM)
        self._change(name, stopping=replace(told, signalled=True, deadline=deadline))

    def kill(self, name: str) -> None:
        told = self._hosted.seen.life(name).stopping or Stopping(0.0, 0.0)
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

    def _watch(self, name: str) -> None:
        container = self._hosted.container(name)
        last = self._hosted.seen.last(name)
        if not any(container.HasField(f"{kind}Probe") for kind in ("startup", "liveness", "readiness")):
            self._change(name, started=True, ready=True)
        elif last is not None:
            self._spawn(name, self._probe(name, container, last))

    async def _probe(self, name: str, container: Any, last: Attempt) -> None:
        prober = Prober(
            self._target(name), self._hosted.s.clock,
            changed=lambda **fields: self._change(name, **fields),
            unhealthy=lambda message: self._unhealthy(name, message),
        )  # fmt: skip
        started = self._hosted.seen.life(name).started
        await prober.run(last.started_at or self._hosted.s.clock.now(), started=started)

    def _unhealthy(self, name: str, message: str) -> None:
        # One that was told to stop is to become so.
        if self._hosted.seen.life(name).stopping is None:
            self._hosted.event("Unhealthy", message, warning=True)

    def _target(self, name: str) -> Target:
        async def run(command: list[str], within: float) -> tuple[int, str]:
            handle = self.handles.get(name)
            if handle is None:
                raise RuntimeError("the container is not running")
            try:
                return await self._hosted.s.execute(handle, command, within)
            except StartError as error:
                raise RuntimeError(str(error)) from error

        return Target(self._hosted.address, self._hosted.container(name), run)

    # Shared

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        mine = self._tasks.setdefault(name, set())
        mine.add(task)
        task.add_done_callback(mine.discard)
        self._hosted.mind(task)

    def _change(self, name: str, **fields: Any) -> None:
        """What is new of a run: in sight of `steps`, and on disk for the agent that comes after this one."""
        before = self._hosted.seen.life(name)
        life = self._hosted.seen.change(name, **fields)
        last = self._hosted.seen.last(name)
        if life != before and last is not None:
            self._hosted.journal.save_life(name, last.number, life)
            self._hosted.changed.set()
