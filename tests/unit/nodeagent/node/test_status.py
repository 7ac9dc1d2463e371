"""The node's own status: when it is sent, and what is in it."""

from __future__ import annotations

import asyncio

from nodeagent.control.statusmanager import StatusManager
from nodeagent.node.status import NodeStatusReporter
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import VirtualClock
from pinnace.core.v1 import node_pb2
from tests.support.objects import node


def with_pressure(status: node_pb2.NodeStatus) -> None:
    status.conditions.add(type="MemoryPressure", status="True")


def test_parts_are_asked_for_each_time() -> None:
    """And change nothing of what the node said of itself."""
    status = NodeStatusReporter(node("n1"), lambda found: None, every=300, clock=VirtualClock())
    status.add(with_pressure)
    for _ in range(2):
        found = status.current()
        assert found.metadata.name == "n1"
        assert found.status.allocatable["cpu"].string == "4"
        assert [item.type for item in found.status.conditions] == ["MemoryPressure"]


async def test_it_is_sent_on_change_and_on_a_timer() -> None:
    """Several changes at once are one report."""
    clock, sent = VirtualClock(), []
    status = NodeStatusReporter(node("n1"), sent.append, every=300, clock=clock)
    task = asyncio.ensure_future(status.run())
    await clock.advance(200)
    assert sent == []
    status.changed()
    status.changed()
    await clock.advance(0)
    assert len(sent) == 1
    await clock.advance(299)
    assert len(sent) == 1
    await clock.advance(2)
    assert len(sent) == 2
    await clock.advance(600)
    assert len(sent) == 4
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_only_the_latest_status_is_reported_and_events_name_the_node() -> None:
    """One that came while a report was under way goes with the next."""
    reporter = StatusManager(VirtualClock())
    requests: list[nodes_pb2.ReportStatusRequest] = []

    async def send(request: nodes_pb2.ReportStatusRequest) -> None:
        requests.append(request)
        if len(requests) == 1:
            reporter.node(node_pb2.NodeStatus(phase="third"))

    for phase in ("first", "second"):
        reporter.node(node_pb2.NodeStatus(phase=phase))
    NodeStatusReporter(node("n1"), reporter.node, every=300, clock=VirtualClock()).event(reporter.event)("Told", "words", True)
    task = asyncio.ensure_future(reporter.run(send))
    while len(requests) < 2:
        await asyncio.sleep(0)
    task.cancel()
    assert [request.node.phase for request in requests] == ["second", "third"]
    [event] = requests[0].events
    assert (event.involvedObject.kind, event.involvedObject.name, event.type) == ("Node", "n1", "Warning")
