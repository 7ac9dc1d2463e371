"""The pods of a node: what is on its disk taken up, and what is said of them while a worker has failed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from nodeagent.control.assignment import Assignment
from nodeagent.node.admission import Refusal
from nodeagent.pods.checkpoint import PodCheckpoint
from nodeagent.pods.manager import PodManager
from nodeagent.pods.model import Attempt, ObservedState
from pinnace.api.v1 import nodes_pb2
from tests.support.hosting import Host
from tests.support.objects import pod


class Fixture:
    def __init__(self, folder: Path) -> None:
        self.host = Host(folder)
        self.assignment = Assignment(folder / "assignment", folder / "secrets")
        self.manager = PodManager(self.assignment)

    @asynccontextmanager
    async def started(self) -> AsyncIterator[PodManager]:
        self.manager.start(self.host.deps())
        try:
            yield self.manager
        finally:
            await self.manager.close()


@pytest.fixture
def node(tmp_path: Path) -> Fixture:
    return Fixture(tmp_path)


async def until(check: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0.01)


def change(item: Any, *, key: str = "Pod/default/web") -> nodes_pb2.Change:
    found = nodes_pb2.Change(key=key)
    if item is not None:
        found.object.protobuf = item.SerializeToString()
    return found


def bundle(node: Fixture, uid: str) -> Path:
    """A run of a container on disk: its agent was killed while it ran."""
    checkpoint = PodCheckpoint(node.host.folder / "pods" / uid)
    checkpoint.bundle("main", 0).mkdir(parents=True)
    checkpoint.save_attempt(Attempt("main", 0, "busybox"))
    state = {"pid": 1 << 22, "pid_start": 1, "monitor": 1 << 22, "monitor_start": 1, "started_at": 1.0}
    found = checkpoint.bundle("main", 0)
    (found / "state.json").write_text(json.dumps(state))
    (found / "exit.json").write_text(json.dumps({"code": 0, "finished_at": 2.0, "signal": 0, "oom_killed": False}))
    checkpoint.save_sandbox(ObservedState(started_at=1.0), "native")
    return found


@pytest.mark.parametrize("left", [None, b"", b"\xff\xff torn"])
async def test_a_pod_whose_manifest_is_lost_is_removed(node: Fixture, left: bytes | None) -> None:
    """After a power failure its pod.pb may be absent or torn while its containers' files are there."""
    bundle(node, "u1")
    if left is not None:
        (node.host.folder / "pods/u1/pod.pb").write_bytes(left)
    async with node.started():
        await until(lambda: not (node.host.folder / "pods/u1").exists())


async def test_a_pod_forgotten_while_its_worker_has_failed_is_removed(node: Fixture) -> None:
    """What is no longer assigned is not begun again."""
    async with node.started() as manager:
        node.assignment.apply(
            nodes_pb2.Assignment(changes=[change(pod(meta={"uid": "u1", "resourceVersion": "1"}, nodeName="n1"))])
        )
        manager.workers["u1"]._pod_ctx.mind(asyncio.ensure_future(failing()))
        await until(lambda: "u1" not in manager.workers)
        node.assignment.apply(nodes_pb2.Assignment(changes=[change(None)]))
        await until(lambda: not (node.host.folder / "pods/u1").exists())
        await until(lambda: "u1" not in manager.workers)


async def failing() -> None:
    raise ValueError("a fault of ours")


async def test_a_refusal_is_on_disk_before_the_pod_is(node: Fixture) -> None:
    """An agent that is killed in between must not take the pod for one that it has let in."""
    node.manager.admit = lambda item, others: Refusal("OutOfcpu", "no cpu")
    pods = node.host.folder / "pods/u1"
    async with node.started():
        node.assignment.apply(
            nodes_pb2.Assignment(changes=[change(pod(meta={"uid": "u1", "resourceVersion": "1"}, nodeName="n1"))])
        )
        assert (pods / "eviction.json").stat().st_mtime_ns <= (pods / "pod.pb").stat().st_mtime_ns


async def test_a_record_of_another_version_counts_as_absent(node: Fixture) -> None:
    """An older agent may find fields that it does not know."""
    folder = bundle(node, "u1")
    (folder / "attempt.json").write_text(json.dumps({**asdict(Attempt("main", 0, "busybox")), "later": 1}))
    async with node.started():
        await until(lambda: not (node.host.folder / "pods/u1").exists())


async def test_a_deletion_comes_in_on_a_full_disk(node: Fixture) -> None:
    """What cannot be kept for the next agent is done by this one."""
    item = pod(meta={"uid": "u1", "resourceVersion": "1"}, nodeName="n1")
    async with node.started():
        node.assignment.apply(nodes_pb2.Assignment(changes=[change(item)]))
        kept = node.host.folder / "assignment/objects/Pod%default%web"
        kept.unlink()
        kept.mkdir()
        item.metadata.resourceVersion = "2"
        item.metadata.deletionTimestamp.seconds = 1
        node.assignment.apply(nodes_pb2.Assignment(changes=[change(item)]))
        await until(lambda: [removed for _, removed in node.host.reports if removed])


@pytest.mark.parametrize("record", ["{}", '{"address": "10.244.1.2"}', "[]"])
async def test_a_sandbox_record_without_its_fields_counts_as_absent(node: Fixture, record: str) -> None:
    """The pod is managed all the same, and removed when it is not assigned."""
    bundle(node, "u1")
    (node.host.folder / "pods/u1/sandbox.json").write_text(record)
    async with node.started() as manager:
        assert "u1" in manager.workers
        await until(lambda: not (node.host.folder / "pods/u1").exists())
