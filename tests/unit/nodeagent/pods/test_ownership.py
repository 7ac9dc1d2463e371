"""An agent that starts runs no pod that may be another node's by now: it waits until the control plane has confirmed the pod."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest

from nodeagent.control.assignment import Assignment
from nodeagent.pods.manager import PodManager
from nodeagent.pods.model import Policy
from nodeagent.pods.ownership import PATIENCE, held_until
from nodeagent.pods.steps import CreateSandbox, Wait, next_step
from nodeagent.runtime.fake import FakeRuntime, World
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import VirtualClock
from tests.support.hosting import EveryImage, Host
from tests.support.objects import pod
from tests.support.observed import T0, observed


def owned(api_version: str, kind: str, name: str = "web") -> Any:
    owner = {"apiVersion": api_version, "kind": kind, "name": "x", "uid": "o", "controller": True}
    return pod(name, meta={"uid": f"uid-{name}", "resourceVersion": "1", "ownerReferences": [owner]}, nodeName="n1")


@pytest.mark.parametrize(("subject", "until"), [
    (owned("apps/v1", "StatefulSet"), math.inf),
    (owned("example.com/v1", "Database"), math.inf),
    (owned("example.com/v1", "ReplicaSet"), math.inf),
    (owned("apps/v1", "ReplicaSet"), T0 + PATIENCE),
    (owned("apps/v1", "DaemonSet"), T0 + PATIENCE),
    (owned("batch/v1", "Job"), T0 + PATIENCE),
    (owned("v1", "ReplicationController"), T0 + PATIENCE),
    (pod(), T0 + PATIENCE),
])  # fmt: skip
def test_without_a_control_plane_only_interchangeable_pods_start(subject: Any, until: float) -> None:
    assert held_until(subject, T0) == until


@pytest.mark.parametrize(("until", "now", "expected"), [
    (None, T0, CreateSandbox()),
    (T0 + 5, T0, Wait(T0 + 5)),
    (T0 + 5, T0 + 5, CreateSandbox()),
    (math.inf, T0 + 1e6, Wait()),
])  # fmt: skip
def test_the_sandbox_is_not_made_before(until: float | None, now: float, expected: Any) -> None:
    view = observed(ready=False, volumes=True, held_until=until)
    assert next_step(pod(), gone=False, observed=view, now=now, policy=Policy()) == expected


def change(item: Any) -> nodes_pb2.Change:
    found = nodes_pb2.Change(key=f"Pod/default/{item.metadata.name}")
    found.object.protobuf = item.SerializeToString()
    return found


class Rebooted:
    """An agent that starts with two pods on its disk, `db` of a StatefulSet and `web` of a ReplicaSet."""

    def __init__(self, path: Path) -> None:
        self.clock = VirtualClock()
        self.world = World()
        host = Host(path, FakeRuntime(self.clock, self.world), self.clock)
        self.pods = [owned("apps/v1", "StatefulSet", "db"), owned("apps/v1", "ReplicaSet", "web")]
        before = Assignment(path / "assignment", path / "secrets")
        before.apply(nodes_pb2.Assignment(complete=True, changes=[change(item) for item in self.pods]))
        before.close()
        self.assignment = Assignment(path / "assignment", path / "secrets")
        self.assignment.restore()
        self.manager = PodManager(self.assignment)
        self.manager.start(host.deps(images=EveryImage(), puller=EveryImage()))

    async def runs(self, *names: str) -> None:
        """Wait until exactly these pods have a sandbox, by UID."""
        wanted = {f"uid-{name}" for name in names}
        async with asyncio.timeout(10):
            while {path.parent.name for path in self.world.sandboxes} != wanted:
                await self.clock.advance(0.01)
                await asyncio.sleep(0.01)


async def test_a_pod_from_disk_waits_for_the_control_plane(tmp_path: Path) -> None:
    """A confirmation that changes nothing starts it; the other has waited long enough without one."""
    node = Rebooted(tmp_path)
    try:
        await node.clock.advance(PATIENCE + 1)
        await node.runs("web")
        await node.clock.advance(1000)
        await node.runs("web")
        node.assignment.apply(nodes_pb2.Assignment(complete=True, changes=[change(item) for item in node.pods]))
        await node.runs("db", "web")
    finally:
        await node.manager.close()


async def test_a_pod_that_only_follows_is_not_confirmed(tmp_path: Path) -> None:
    """A complete assignment that announces a pod may bring another of the same name."""
    node = Rebooted(tmp_path)
    try:
        node.assignment.apply(nodes_pb2.Assignment(complete=True, following=["Pod/default/db"], changes=[change(node.pods[1])]))
        await node.runs("web")
        replaced = owned("apps/v1", "StatefulSet", "db")
        replaced.metadata.uid, replaced.metadata.resourceVersion = "uid-another", "2"
        node.assignment.apply(nodes_pb2.Assignment(changes=[change(replaced)]))
        await node.runs("web", "another")
    finally:
        await node.manager.close()


async def test_an_assignment_is_applied_once_the_pods_that_it_lacks_are_gone(tmp_path: Path) -> None:
    """Until then the agent confirms the one before."""
    node = Rebooted(tmp_path)
    try:
        node.assignment.apply(nodes_pb2.Assignment(complete=True, revision=5, changes=[change(item) for item in node.pods]))
        await node.runs("db", "web")
        assert node.manager.applied() == 5
        removed = nodes_pb2.Change(key="Pod/default/db")
        node.assignment.apply(nodes_pb2.Assignment(revision=6, changes=[removed]))
        assert node.manager.applied() == 5
        await node.runs("web")
        async with asyncio.timeout(10):
            while node.manager.applied() != 6:
                await asyncio.sleep(0.01)
        assert len(node.manager.workers) == 1
    finally:
        await node.manager.close()


async def test_a_pod_that_leaves_later_does_not_hold_back_an_assignment(tmp_path: Path) -> None:
    """Pods come and go all the time, and one may never end: its node would stay fenced for another."""
    node = Rebooted(tmp_path)
    try:
        node.assignment.apply(nodes_pb2.Assignment(complete=True, revision=5, changes=[change(item) for item in node.pods]))
        await node.runs("db", "web")
        node.assignment.apply(nodes_pb2.Assignment(revision=6, changes=[nodes_pb2.Change(key="Pod/default/db")]))
        async with asyncio.timeout(10):
            while len(node.manager.workers) > 1:
                await node.clock.advance(1)
                await asyncio.sleep(0.01)
        node.assignment.apply(nodes_pb2.Assignment(revision=8, changes=[nodes_pb2.Change(key="Pod/default/web")]))
        assert len(node.manager.workers) == 1
        assert node.manager.applied() == 6
        async with asyncio.timeout(10):
            while node.manager.workers:
                await node.clock.advance(1)
                await asyncio.sleep(0.01)
        assert node.manager.applied() == 8
    finally:
        await node.manager.close()
