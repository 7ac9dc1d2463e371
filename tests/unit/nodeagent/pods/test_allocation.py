"""What a node has allocated to its pods: decided once all of them are known, kept on disk, decided again when there is room."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nodeagent.control.assignment import Assignment
from nodeagent.node import admission
from nodeagent.node.admission import Refusal, admit_resize, resize_order
from nodeagent.pods.checkpoint import PodCheckpoint
from nodeagent.pods.manager import PodManager
from pinnace.api.v1 import nodes_pb2
from tests.support.awaiting import eventually
from tests.support.hosting import EveryImage, Host
from tests.support.objects import container, pod

# Of the node.
ALLOCATABLE = {"cpu": 2000, "memory": 1 << 30, "pods": 10}


def wanting(cpu: str, name: str = "web", *, generation: int = 1, **more: Any) -> Any:
    meta = {"uid": f"uid-{name}", "generation": generation, "resourceVersion": str(generation)}
    return pod(name, container(requests={"cpu": cpu}, command=["sleep", "60"]), meta=meta, **more)


@pytest.mark.parametrize(
    ("wanted", "present", "others", "expected"),
    [
        ("1", "500m", [], None),
        ("2", "500m", [], None),
        (
            "3", "500m", [],
            Refusal("Infeasible", "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000"),
        ),
        (
            "1", "500m", ["1500m"],
            Refusal("Deferred", "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"),
        ),
        # A node with too much on it takes back what it is given.
        ("500m", "1", ["1900m"], None),
    ],
)  # fmt: skip
def test_a_node_gives_what_it_has(wanted: str, present: str, others: list[str], expected: Refusal | None) -> None:
    """To nobody what others have; never more than it has at all."""
    have = [wanting(cpu, f"other-{index}") for index, cpu in enumerate(others)]
    assert admit_resize(wanting(wanted), wanting(present), have, allocatable=ALLOCATABLE) == expected


def test_a_static_pod_has_what_its_file_says() -> None:
    """Its changes make another pod of it."""
    static = wanting("1")
    static.metadata.annotations["kubernetes.io/config.source"] = "file"
    refusal = admit_resize(static, wanting("500m"), [], allocatable=ALLOCATABLE)
    assert refusal == Refusal("Infeasible", "In-place resize of static-pods is not supported")


def test_who_gives_back_comes_before_who_wants_more() -> None:
    """Then priority."""
    low, high = wanting("2", "low"), wanting("2", "high")
    low.spec.priority, high.spec.priority = 1, 5
    pods = {"low": low, "high": high, "less": wanting("500m", "less")}
    assert sorted(pods, key=lambda name: resize_order(pods[name], wanting("1"))) == ["less", "high", "low"]


class Node:
    """An agent's pods, and one after it."""

    def __init__(self, folder: Path) -> None:
        self.host = Host(folder)
        self.assignment = Assignment(folder / "assignment", folder / "secrets")
        self.manager = PodManager(self.assignment)

    @asynccontextmanager
    async def started(self) -> AsyncIterator[PodManager]:
        self.manager = PodManager(self.assignment)
        self.manager.admit_resize = functools.partial(admission.admit_resize, allocatable=ALLOCATABLE)
        self.manager.start(self.host.deps(images=EveryImage(), puller=EveryImage()))
        try:
            yield self.manager
        finally:
            await self.manager.close()

    def assign(self, *pods: Any, complete: bool = False) -> None:
        changes = []
        for item in pods:
            change = nodes_pb2.Change(key=f"Pod/default/{item.metadata.name}")
            change.object.protobuf = item.SerializeToString()
            changes.append(change)
        self.assignment.apply(nodes_pb2.Assignment(complete=complete, changes=changes))

    def cpu(self, name: str = "web") -> str:
        """What is allocated to a pod, as its worker has it and as it is on disk."""
        worker = self.manager.workers[f"uid-{name}"]
        kept = PodCheckpoint(worker.folder).load_pod()
        found = {item.spec.containers[0].resources.requests["cpu"].string for item in (worker.pod, kept)}
        assert len(found) == 1, found
        return found.pop()

    def pending(self, name: str = "web") -> str:
        pending = self.manager.workers[f"uid-{name}"].observed.resize_pending
        return pending.reason if pending is not None else ""

    def said(self) -> list[str]:
        return [reason for reason, _ in self.host.events if reason.startswith("Resize")]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


async def test_what_fits_is_allocated_at_once(node: Node) -> None:
    """And recorded before anything is done about it."""
    async with node.started():
        node.assign(wanting("1"))
        node.assign(wanting("2", generation=2))
        assert (node.cpu(), node.pending()) == ("2", "")
        assert "ResizeStarted" in node.said()


async def test_what_does_not_fit_is_told_once_and_waits(node: Node) -> None:
    """Until another pod gives back what it has; wanting the old amount again ends it too."""
    async with node.started():
        node.assign(wanting("1"), wanting("900m", "big"))
        node.assign(wanting("1500m", generation=2))
        node.assign(wanting("1500m", generation=2))
        assert (node.cpu(), node.pending(), node.said()) == ("1", "Deferred", ["ResizeDeferred"])
        node.assign(wanting("1", generation=3))
        assert (node.cpu(), node.pending()) == ("1", "")
        node.assign(wanting("1500m", generation=4))
        node.assign(wanting("500m", "big", generation=2))
        await eventually(lambda: node.cpu() == "1500m")
        assert node.pending() == ""


async def test_a_pod_that_goes_makes_room(node: Node) -> None:
    """Whatever became of it."""
    async with node.started():
        node.assign(wanting("1"), wanting("900m", "big"))
        node.assign(wanting("1500m", generation=2))
        gone = nodes_pb2.Assignment(changes=[nodes_pb2.Change(key="Pod/default/big")])
        node.assignment.apply(gone)
        await eventually(lambda: node.cpu() == "1500m")


async def test_another_agent_goes_on_with_what_was_allocated(node: Node) -> None:
    """It decides once it knows all pods: the first one on its list gets no room that the second one has."""
    async with node.started():
        node.assign(wanting("1"), wanting("900m", "big"))
        node.assign(wanting("1500m", generation=2))
        await asyncio.sleep(0)
    node.host.events.clear()
    async with node.started():
        assert (node.cpu(), node.pending(), node.cpu("big")) == ("1", "Deferred", "900m")
    node.assign(wanting("800m", generation=3))
    async with node.started():
        assert (node.cpu(), node.pending()) == ("800m", "")
        assert (node.manager.workers["uid-web"].folder / "resizing").exists()
