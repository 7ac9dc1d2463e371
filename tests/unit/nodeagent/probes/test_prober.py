"""The probes of one run, on virtual time: when they ask, and what they tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nodeagent.pods.model import Fault
from nodeagent.probes.checks import Target
from nodeagent.probes.execslots import ExecSlots
from nodeagent.probes.prober import Prober
from nodeagent.probes.resultcounter import ResultCounter
from pinnace import codec, rules
from pinnace.clock import VirtualClock, settle
from pinnace.core.v1 import container_pb2
from tests.support.objects import container

EXEC = {"exec": {"command": ["probe"]}}


class Subject:
    """A container whose command answers as `well` says, and what its prober has told."""

    def __init__(self, **probes: Any) -> None:
        self.clock = VirtualClock()
        self.well = True
        # Of the period.
        self.jitter = 0.0
        self.asked: list[float] = []
        self.told: dict[str, Any] = {}
        self.events: list[str] = []
        message = codec.decode(container_pb2.Container, container(**probes))
        rules.apply_defaults(message)
        self.began = self.clock.now()
        self.slots = ExecSlots(1, each=1)
        self.prober = Prober(
            Target("127.0.0.1", message, self._run), self.clock,
            changed=lambda **fields: self.told.update(fields), unhealthy=self.events.append, slot=lambda: self.slots.one("u1"), jitter=lambda period: self.jitter * period,
        )  # fmt: skip

    async def _run(self, command: list[str], within: float) -> tuple[int, str]:
        self.asked.append(self.clock.now() - self.began)
        return (0, "") if self.well else (1, "unwell")

    @asynccontextmanager
    async def probing(self, *, started: bool = False) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.prober.run(self.began, started=started))
        await settle()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def after(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        await settle()


@pytest.mark.shows("spec.containers[].readinessProbe.{initialDelaySeconds,periodSeconds}")
async def test_readiness_is_asked_every_period_after_the_delay() -> None:
    """First after initialDelaySeconds, then every periodSeconds."""
    subject = Subject(readinessProbe={**EXEC, "initialDelaySeconds": 5, "periodSeconds": 10})
    async with subject.probing():
        assert subject.told == {"started": True}
        for _ in range(30):
            await subject.after(1)
    assert subject.asked == [5, 15, 25]
    assert subject.told["ready"]


@pytest.mark.shows("spec.containers[].readinessProbe.{successThreshold,failureThreshold}")
async def test_readiness_changes_after_its_thresholds() -> None:
    """successThreshold and failureThreshold results in a row."""
    subject = Subject(readinessProbe={**EXEC, "periodSeconds": 1, "successThreshold": 2, "failureThreshold": 3})
    async with subject.probing():
        assert "ready" not in subject.told
        await subject.after(1)
        assert subject.told["ready"]
        subject.well = False
        await subject.after(1)
        await subject.after(1)
        assert subject.told["ready"]
        await subject.after(1)
        assert not subject.told["ready"]
    assert subject.events == ["Readiness probe failed: unwell"] * 2


async def test_liveness_waits_for_startup_and_fails_for_good() -> None:
    """One fault, with the grace of the probe, and no more questions."""
    subject = Subject(
        startupProbe={**EXEC, "periodSeconds": 1, "failureThreshold": 10},
        livenessProbe={**EXEC, "periodSeconds": 1, "failureThreshold": 2, "terminationGracePeriodSeconds": 4},
    )
    subject.well = False
    async with subject.probing():
        await subject.after(3)
        assert subject.told == {}
        subject.well = True
        await subject.after(1)
        assert subject.told == {"started": True, "ready": True}
        subject.well = False
        for _ in range(5):
            await subject.after(1)
    assert subject.told["fault"] == Fault("Container main failed liveness probe, will be restarted", 4)
    asked = len(subject.asked)
    await subject.after(5)
    assert len(subject.asked) == asked


async def test_a_startup_probe_that_never_passes_is_a_fault() -> None:
    """After failureThreshold tries, and nothing has started."""
    subject = Subject(startupProbe={**EXEC, "periodSeconds": 1, "failureThreshold": 3}, readinessProbe=EXEC)
    subject.well = False
    async with subject.probing():
        for _ in range(4):
            await subject.after(1)
    assert set(subject.told) == {"fault"}
    assert len(subject.asked) == 3


async def test_what_has_started_before_is_not_asked_for_startup_again() -> None:
    """An agent that starts again goes on with the other probes."""
    subject = Subject(startupProbe={**EXEC, "failureThreshold": 1}, readinessProbe=EXEC)
    subject.well = False
    async with subject.probing(started=True):
        assert subject.told == {"started": True}
        assert len(subject.asked) == 1


@pytest.mark.parametrize(("results", "verdict"), [
    ("", None), ("s", None), ("ss", True), ("ssf", True), ("ssff", True), ("ssfff", False), ("fff", False), ("ffsf", None),
    ("sssfffs", False), ("sssfffss", True),
])  # fmt: skip
def test_a_verdict_needs_results_in_a_row(results: str, verdict: bool | None) -> None:
    """Two successes, three failures."""
    probe = codec.decode(container_pb2.Probe, {"successThreshold": 2, "failureThreshold": 3})
    counter = ResultCounter()
    for letter in results:
        counter = counter.count(letter == "s", probe)
    assert counter.verdict is verdict


async def test_an_agent_that_starts_again_spreads_its_probes() -> None:
    """Over their first period; from then on they keep theirs."""
    subject = Subject(livenessProbe={**EXEC, "periodSeconds": 10})
    subject.jitter = 0.4
    async with subject.probing(started=True):
        await subject.after(25)
    assert subject.asked == [4, 14, 24]


async def test_a_command_waits_for_a_slot_of_the_node() -> None:
    """Many pods' exec probes do not run at once; the wait is no failure."""
    subject = Subject(livenessProbe=EXEC)
    async with subject.slots.one("u1"), subject.probing():
        await subject.after(0)
        assert subject.asked == []
    async with subject.probing():
        await subject.after(0)
        assert subject.asked == [0.0]
    assert subject.events == []
