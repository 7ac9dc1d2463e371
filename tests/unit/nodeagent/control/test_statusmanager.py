"""When reports are sent: statuses at once, events with the next status or after a moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nodeagent.control.statusmanager import LINGER, StatusManager
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import VirtualClock
from pinnace.core.v1 import pod_pb2
from tests.support.objects import pod


class Reports:
    """A manager that sends to a list."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.manager = StatusManager(self.clock)
        self.sent: list[nodes_pb2.ReportStatusRequest] = []

    async def send(self, request: nodes_pb2.ReportStatusRequest) -> None:
        self.sent.append(request)

    def said(self) -> list[tuple[list[str], list[str]]]:
        """Phases and reasons of each report."""
        return [([p.status.phase for p in item.pods], [event.reason for event in item.events]) for item in self.sent]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.manager.run(self.send))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_an_event_goes_with_the_status_that_follows_it() -> None:
    """The image is pulled, then the container runs: one call and one commit."""
    reports = Reports()
    async with reports.running():
        reports.manager.event(pod("p"), "Pulled", "it is there", False)
        await reports.clock.advance(LINGER / 2)
        assert reports.said() == []
        reports.manager.event(pod("p"), "Started", "it runs", False)
        reports.manager.pod(pod("p"), pod_pb2.PodStatus(phase="Running"), False)
        await reports.clock.advance(0)
    assert reports.said() == [(["Running"], ["Pulled", "Started"])]


async def test_an_event_without_a_status_is_sent_after_a_moment() -> None:
    reports = Reports()
    async with reports.running():
        reports.manager.event(pod("p"), "BackOff", "again", True)
        await reports.clock.advance(LINGER * 1.01)
        assert reports.said() == [([], ["BackOff"])]
        reports.manager.event(pod("p"), "Failed", "words", True)
        await reports.clock.advance(LINGER * 1.01)
    assert reports.said() == [([], ["BackOff"]), ([], ["Failed"])]


async def test_a_status_is_sent_at_once() -> None:
    """Also right after events have waited in vain."""
    reports = Reports()
    async with reports.running():
        reports.manager.event(pod("p"), "Failed", "words", True)
        await reports.clock.advance(LINGER * 1.01)
        reports.manager.pod(pod("p"), pod_pb2.PodStatus(phase="Pending"), False)
        await reports.clock.advance(0)
    assert reports.said() == [([], ["Failed"]), (["Pending"], [])]
