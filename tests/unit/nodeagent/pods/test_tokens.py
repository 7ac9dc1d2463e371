"""Pods whose volumes show tokens of their account: with a control plane, without one, and after an agent's or a machine's end."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from nodeagent.linux import syscalls
from nodeagent.pods.model import Attempt
from nodeagent.pods.worker import Worker
from nodeagent.volumes import manager
from nodeagent.volumes.accounttokens import PATIENCE, REASON
from pinnace.api.v1.nodes_pb2 import PodToken
from pinnace.clock import settle
from pinnace.messages import clone
from tests.support.awaiting import eventually
from tests.support.hosting import Host
from tests.support.objects import config_map, pod

pytestmark = pytest.mark.root
AWAY = RuntimeError("not connected yet")
REFUSED = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), grpc.aio.Metadata(), details="no such account")
SOURCES = [
    {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
]
SUBJECT = pod(
    meta={"uid": "u1"}, serviceAccountName="default", restartPolicy="Never",
    volumes=[{"name": "access", "projected": {"sources": SOURCES, "defaultMode": 0o644}}],
)  # fmt: skip


class Node:
    """One that has a single pod, without a sandbox; `agent` is what works for the pod until it is left."""

    def __init__(self, folder: Path) -> None:
        self.host = Host(folder)
        self.folder = folder / "pods/u1/volumes/access"

    @asynccontextmanager
    async def agent(self, *tokens: PodToken, subject: Any = SUBJECT, **deps: Any) -> AsyncIterator[Worker]:
        worker = Worker(replace(self.host.deps(), **deps), subject)
        worker.take_tokens(tokens)
        # Nothing is to be done once the volumes are there.
        worker.observed.sandbox = True
        worker.observed.attempts["main"] = (Attempt("main", 0, "busybox", started_at=1.0),)
        task = asyncio.ensure_future(worker.run())
        try:
            await settle()
            yield worker
            # A thread that still refreshes the volume could mount it once more after it was removed.
            await eventually(lambda: worker._pod_ctx._refreshing is None)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def shows(self) -> dict[str, str]:
        """The files of the volume."""
        return {path.name: path.read_text() for path in self.folder.glob("[!.]*")}

    @property
    def warnings(self) -> list[tuple[str, str]]:
        return [event for event in self.host.events if "Failed" in event[0]]

    async def started(self, worker: Worker) -> None:
        await eventually(lambda: worker.observed.volumes)

    def reboot(self) -> None:
        """What is in memory is lost."""
        syscalls.umount(self.folder, syscalls.MNT_DETACH)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    found = Node(tmp_path)
    yield found
    manager.unmount(tmp_path / "pods/u1/volumes")


async def test_a_pod_that_comes_with_its_token_needs_no_call(node: Node) -> None:
    node.host.token_failure = AWAY
    async with node.agent(PodToken(expirationSeconds=3607, token="given")) as worker:
        await node.started(worker)
        assert node.shows() == {"token": "given", "namespace": "default"}
        assert (node.host.token_requests, node.warnings) == ([], [])


async def test_a_pod_whose_token_did_not_come_waits_for_the_answer(node: Node) -> None:
    async with node.agent() as worker:
        await node.started(worker)
        assert node.shows() == {"token": "token-1", "namespace": "default"}


async def test_an_agent_that_starts_again_needs_no_control_plane(node: Node) -> None:
    """The token is in the volume, and stays while it cannot be renewed. No time passes until the volumes are there."""
    async with node.agent(PodToken(expirationSeconds=3607, token="given")) as worker:
        await node.started(worker)
    node.host.token_failure = AWAY
    async with node.agent() as worker:
        await node.started(worker)
        assert node.shows() == {"token": "given", "namespace": "default"}
        assert node.warnings == []
        node.host.token_failure = None
        await eventually(lambda: node.shows()["token"].startswith("token-"), clock=node.host.clock, step=1)


async def test_a_pod_starts_without_its_token_while_there_is_no_control_plane(node: Node) -> None:
    """After a reboot, which leaves no token: a moment later, with a warning. The file is there once the control plane is."""
    async with node.agent(PodToken(expirationSeconds=3607, token="given")) as worker:
        await node.started(worker)
    node.reboot()
    node.host.token_failure = AWAY
    async with node.agent() as worker:
        await node.host.clock.advance(PATIENCE - 0.1)
        assert not worker.observed.volumes
        assert node.warnings == []
        await node.host.clock.advance(0.2)
        await node.started(worker)
        assert node.shows() == {"namespace": "default"}
        text = 'Unable to retrieve the service account token of volume "access": not connected yet; containers start without it'
        assert node.warnings == [(REASON, text)]
        inode = os.stat(node.folder / "..data/").st_ino
        node.host.token_failure = None
        worker.connected()
        await eventually(lambda: node.shows().get("token", "").startswith("token-"))
        assert os.stat(node.folder / "..data/").st_ino != inode
        assert len(node.warnings) == 1


async def test_a_connection_that_comes_in_time_starts_the_pod_with_its_token(node: Node) -> None:
    """As after a reboot of a node whose control plane is there: the session is opened while the pod waits."""
    node.host.token_failure = AWAY
    async with node.agent() as worker:
        await node.host.clock.advance(0.1)
        node.host.token_failure = None
        worker.connected()
        await node.started(worker)
        assert set(node.shows()) == {"token", "namespace"}
        assert node.warnings == []


async def test_a_token_that_comes_while_volumes_are_made_without_it_is_shown(node: Node) -> None:
    """The volume's files were put together a moment before."""
    subject = clone(SUBJECT)
    projected = subject.spec.volumes[0].volumeSource.projected
    projected.sources.add().configMap.localObjectReference.name = "slow"
    begun, allowed = threading.Event(), threading.Event()

    def slow(kind: str, namespace: str, name: str) -> Any:
        begun.set()
        allowed.wait(10)
        return config_map("slow", {"a": "1"})

    node.host.token_failure = AWAY
    async with node.agent(subject=subject, lookup=slow) as worker:
        await eventually(begun.is_set, clock=node.host.clock, step=1)
        node.host.token_failure = None
        worker.connected()
        await settle()
        allowed.set()
        await node.started(worker)
        await eventually(lambda: set(node.shows()) == {"token", "namespace", "a"})


async def test_a_refused_token_holds_the_pod_back(node: Node) -> None:
    """As in kubelet, with its event; the pod starts once the token is given."""
    node.host.token_failure = REFUSED
    async with node.agent() as worker:
        await node.host.clock.advance(3000)
        assert not worker.observed.volumes
        text = 'MountVolume.SetUp failed for volume "access" : failed to fetch token: no such account'
        assert set(node.warnings) == {("FailedMount", text)}
        node.host.token_failure = None
        await eventually(lambda: worker.observed.volumes, clock=node.host.clock, step=10)
        assert set(node.shows()) == {"token", "namespace"}


async def test_a_pod_that_has_ended_renews_no_token(node: Node) -> None:
    async with node.agent(PodToken(expirationSeconds=3607, token="given")) as worker:
        await node.started(worker)
        worker.observed.attempts["main"] = (Attempt("main", 0, "busybox", started_at=1.0, finished_at=2.0),)
        worker.nudge()
        await eventually(worker.over)
        await node.host.clock.advance(86_400)
        assert node.host.token_requests == []


def test_what_is_left_on_the_disk_is_no_token(node: Node) -> None:
    """Only what a tmpfs has: a token never lies on the disk."""
    (node.folder / "..data").mkdir(parents=True)
    (node.folder / "..data/token").write_text("old")
    volumes: Any = manager.PodVolumes(node.folder.parent, lambda kind, name: None, {})
    assert volumes.shown_tokens(SUBJECT) == {}
