"""The probes of one run of a container: startup first, then liveness and readiness side by side.

It tells what it finds through two calls and decides nothing: what a failure means for the container is for `steps`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from nodeagent.pods.model import Fault
from nodeagent.probes.checks import Result, Target, check
from nodeagent.probes.resultcounter import ResultCounter
from pinnace.clock import Clock

# `changed(started=..., ready=..., fault=...)`: what is known of the run now.
Changed = Callable[..., None]
# `unhealthy(message)`: an event for people.
Unhealthy = Callable[[str], None]
# A slot to run a command in, of the pod's share.
Slot = Callable[[], AbstractAsyncContextManager[None]]


class Prober:
    def __init__(
        self, target: Target, clock: Clock, *, changed: Changed, unhealthy: Unhealthy, slot: Slot,
        jitter: Callable[[float], float] = lambda period: 0.0,
    ) -> None:  # fmt: skip
        """`slot` bounds the commands of all probers; `jitter` delays the first check, given the period in seconds."""
        self._target = target
        self._container = target.container
        self._clock = clock
        self._changed = changed
        self._unhealthy = unhealthy
        self._slot = slot
        self._jitter = jitter

    async def run(self, started_at: float, *, started: bool) -> None:
        """Probe until cancelled. `started`: the startup probe has passed already, before the agent was restarted."""
        container = self._container
        if not started and container.HasField("startupProbe"):
            if not await self._repeat("Startup", container.startupProbe, started_at, self._startup):
                return
        if not container.HasField("readinessProbe"):
            self._changed(started=True, ready=True)
        else:
            self._changed(started=True)
        async with asyncio.TaskGroup() as group:
            if container.HasField("livenessProbe"):
                group.create_task(self._repeat("Liveness", container.livenessProbe, started_at, self._liveness))
            if container.HasField("readinessProbe"):
                group.create_task(self._repeat("Readiness", container.readinessProbe, started_at, self._readiness))

    async def _repeat(self, kind: str, probe: Any, started_at: float, judge: Callable[[ResultCounter], bool | None]) -> bool:
        """Ask every period until `judge` says True or False for good."""
        counter, told = ResultCounter(), ""
        await self._clock.sleep(max(0.0, started_at + probe.initialDelaySeconds - self._clock.now()))
        await self._clock.sleep(self._jitter(probe.periodSeconds))
        while True:
            result = await self._check(probe)
            counter = counter.count(result.ok, probe)
            told = self._tell(kind, result, counter, told)
            final = judge(counter)
            if final is not None:
                return final
            await self._clock.sleep(probe.periodSeconds)

    async def _check(self, probe: Any) -> Result:
        if not probe.handler.HasField("exec"):
            return await check(probe.handler, self._target, probe.timeoutSeconds)
        async with self._slot():
            return await check(probe.handler, self._target, probe.timeoutSeconds)

    def _tell(self, kind: str, result: Result, counter: ResultCounter, told: str) -> str:
        """An event for the first failure in a row, for each new message, and for the failure that decides."""
        if result.ok:
            return ""
        probe = getattr(self._container, f"{kind.lower()}Probe")
        if result.message != told or counter.run == probe.failureThreshold:
            self._unhealthy(f"{kind} probe failed: {result.message}")
        return result.message

    def _startup(self, counter: ResultCounter) -> bool | None:
        if counter.verdict is False:
            self._fail("startup", self._container.startupProbe)
        return counter.verdict

    def _liveness(self, counter: ResultCounter) -> bool | None:
        if counter.verdict is not False:
            return None
        self._fail("liveness", self._container.livenessProbe)
        return False

    def _readiness(self, counter: ResultCounter) -> bool | None:
        if counter.verdict is not None:
            self._changed(ready=counter.verdict)
        return None

    def _fail(self, kind: str, probe: Any) -> None:
        grace = probe.terminationGracePeriodSeconds if probe.HasField("terminationGracePeriodSeconds") else None
        self._changed(fault=Fault(f"Container {self._container.name} failed {kind} probe, will be restarted", grace))
