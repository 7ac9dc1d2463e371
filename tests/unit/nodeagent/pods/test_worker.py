"""A pod's worker when the node does not do what it is asked."""

from __future__ import annotations

import asyncio
import fcntl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nodeagent.network.addresses import Ipam
from nodeagent.network.interface import NetworkError
from nodeagent.network.policies.model import Pod
from nodeagent.network.policies.reader import pod as isolated
from nodeagent.pods import removal
from nodeagent.pods.checkpoint import PodCheckpoint
from nodeagent.pods.model import Attempt, ObservedState
from nodeagent.pods.steps import RestartAll
from nodeagent.pods.termination import ending
from nodeagent.pods.worker import Worker
from nodeagent.runtime.nativeruntime import NativeRuntime
from pinnace.clock import VirtualClock, settle
from tests.support.awaiting import eventually
from tests.support.cancelling import heeded
from tests.support.hosting import EveryImage, Host
from tests.support.objects import pod


class PodTermination:
    """A pod whose only container has ended; it has an address."""

    def __init__(self, folder: Path, **meta: Any) -> None:
        self.host = Host(folder)
        self.worker = Worker(self.host.deps(), pod(meta={"uid": "u1", **meta}, restartPolicy="Never"))
        observed = self.worker.observed
        observed.volumes = observed.sandbox = True
        observed.addresses = self.host.ipam.allocate("u1")
        observed.attempts["main"] = (Attempt("main", 0, "busybox", started_at=1.0, finished_at=2.0),)
        self.worker.folder.mkdir(parents=True, exist_ok=True)
        self.host.isolation.update("u1", isolated(self.worker.pod, observed.addresses))

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.worker.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def after(self, seconds: float) -> None:
        for _ in range(20):
            # What it does in threads takes real time.
            await asyncio.sleep(0.005)
            await self.host.clock.advance(seconds / 20)
            await settle()


def free(ipam: Ipam, address: str) -> bool:
    try:
        ipam.hold("other", address)
    except NetworkError:
        return False
    return True


async def test_a_pod_is_not_gone_while_its_network_is_there(tmp_path: Path) -> None:
    """Nor is its address another's."""
    ending = PodTermination(tmp_path, deletionTimestamp="2001-01-01T00:00:00Z")
    ending.host.network.fault = "netlink does not answer"
    async with ending.working():
        await ending.after(10)
        assert not [removed for _, removed in ending.host.reports if removed]
        assert not free(ending.host.ipam, ending.worker.observed.address)
        ending.host.network.fault = ""
        assert ending.host.isolation.pods
        await ending.after(10)
    assert [removed for _, removed in ending.host.reports if removed]
    assert free(ending.host.ipam, ending.worker.observed.address)
    assert not ending.host.isolation.pods


async def test_a_pod_is_not_gone_while_a_process_is_left_in_its_cgroup(tmp_path: Path) -> None:
    """However often its removal is tried: such a process (of an NFS mount that hangs) may run on, and write."""
    (tmp_path / "cgroups").mkdir()
    (tmp_path / "cgroups/cgroup.controllers").touch()
    ending = PodTermination(tmp_path, deletionTimestamp="2001-01-01T00:00:00Z")
    # The kernel removes no cgroup that has a process, as no directory that has a file.
    left = tmp_path / "cgroups/pinnace/besteffort/podu1/main-0/a-process"
    left.parent.mkdir(parents=True)
    left.touch()
    async with ending.working():
        failures = partial(
            ending.host.events.count, ("FailedKillPod", "error killing pod: processes are left in the pod's cgroup")
        )
        await eventually(lambda: failures() > 60, clock=ending.host.clock, step=30)
        assert not [removed for _, removed in ending.host.reports if removed]
        left.unlink()
        await eventually(lambda: ending.host.reports and ending.host.reports[-1][1], clock=ending.host.clock, step=30)
    assert not left.parent.parent.exists()


async def test_an_ended_pod_keeps_its_address_while_it_keeps_its_network(tmp_path: Path) -> None:
    """It is tried again, and not without a pause."""
    ending = PodTermination(tmp_path)
    ending.host.network.fault = "netlink does not answer"
    async with ending.working():
        await ending.after(10)
        assert not ending.worker.over()
        assert ending.host.reports[-1][0].phase == "Succeeded"
        assert not free(ending.host.ipam, ending.worker.observed.address)
        assert ending.host.network.faults < 5
        ending.host.network.fault = ""
        ending.worker.nudge()
        await ending.after(1)
    assert ending.worker.over()
    assert free(ending.host.ipam, ending.worker.observed.address)


@pytest.mark.parametrize("grace", [0.0, 30.0])
async def test_a_pod_is_evicted_though_that_cannot_be_booked(tmp_path: Path, grace: float) -> None:
    """A full disk is what it is evicted for."""
    ending = PodTermination(tmp_path)
    ending.worker.observed.attempts.clear()
    ending.worker.observed.sandbox = False
    (tmp_path / "pods/u1/eviction.json").mkdir(parents=True)
    ending.worker.evict(reason="Evicted", message="the node is low on disk", grace=grace)
    async with ending.working():
        await ending.after(1)
    assert ending.host.reports[-1][0].reason == "Evicted"


async def test_conditions_keep_their_times_when_the_agent_starts_again(tmp_path: Path) -> None:
    """A Deployment's minReadySeconds are counted from there; and the pod began when it began."""
    host = Host(tmp_path)
    item = pod(meta={"uid": "u1"})
    for count in (1, 2):
        worker = Worker(host.deps(), item)
        worker.reject(reason="OutOfcpu", message="no cpu")
        task = asyncio.ensure_future(worker.run())
        await eventually(lambda: len(host.reports) == count)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await host.clock.advance(100)
    (first, _), (second, _) = host.reports
    assert [c.lastTransitionTime for c in first.conditions] == [c.lastTransitionTime for c in second.conditions] != []
    assert second.startTime == first.startTime


@pytest.mark.parametrize("skew", [-3600, 0, 3600])
async def test_a_deleted_pod_has_its_grace_whatever_the_control_planes_clock_says(tmp_path: Path, skew: int) -> None:
    """As with kubelet, it counts from when the node is told; a shorter one from when that is told."""
    host = Host(tmp_path)
    worker = Worker(host.deps(), pod(meta={"uid": "u1"}))
    worker.observed.attempts["main"] = (Attempt("main", 0, "busybox", started_at=1.0),)
    for grace in (30, 30, 10):
        item = pod(meta={"uid": "u1", "deletionGracePeriodSeconds": grace})
        item.metadata.deletionTimestamp.seconds = int(host.clock.now()) + skew + grace
        worker.update(item)
        found = ending(worker.pod, gone=False, observed=worker.observed, now=host.clock.now())
        assert found is not None
        assert found.deadline == host.clock.now() + grace


async def test_a_new_agent_gives_a_deleted_pod_no_more_than_its_grace(tmp_path: Path) -> None:
    """Nobody knows when the one before it was told."""
    host = Host(tmp_path)
    item = pod(meta={"uid": "u1", "deletionGracePeriodSeconds": 30})
    for left, expected in ((10, 10), (3600, 30)):
        item.metadata.deletionTimestamp.seconds = int(host.clock.now()) + left
        found = ending(item, gone=False, observed=Worker(host.deps(), item).observed, now=host.clock.now())
        assert found is not None
        assert found.deadline == host.clock.now() + expected


async def test_a_worker_that_is_told_to_stop_while_it_wakes_stops(tmp_path: Path) -> None:
    """An agent that ends waits for its workers."""
    worker = Worker(Host(tmp_path).deps(), pod(meta={"uid": "u1"}))

    async def woken() -> None:
        worker._pod_ctx.state.changed.clear()
        asyncio.get_running_loop().call_soon(worker.nudge)
        await worker._wait(worker._deps.clock.now() + 60)

    assert await heeded(woken)


class Pulling:
    """A puller whose pulls do not end; `pulls` are those under way."""

    def __init__(self) -> None:
        self.pulls = 0

    def local(self, reference: str, policy: str) -> None:
        return None

    async def ensure(self, reference: str, policy: str, credentials: Any, say: Any) -> None:
        self.pulls += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.pulls -= 1


async def test_an_evicted_pod_pulls_no_longer(tmp_path: Path) -> None:
    """Its image may be what fills the disk."""
    host, puller = Host(tmp_path), Pulling()
    worker = Worker(host.deps(puller=puller), pod(meta={"uid": "u1"}))
    worker.observed.volumes = worker.observed.sandbox = True
    task = asyncio.ensure_future(worker.run())
    await settle()
    assert puller.pulls == 1
    worker.evict(reason="Evicted", message="the node is low on disk", grace=0)
    async with asyncio.timeout(5):
        while not worker.over():
            await asyncio.sleep(0.01)
    await settle()
    assert puller.pulls == 0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_start_that_is_under_way_holds_up_nobody_else(tmp_path: Path) -> None:
    """An agent that starts again waits for its monitor (an OCI runtime may take most of a minute), but beside the loop."""
    native = NativeRuntime(tmp_path / "native", VirtualClock())
    host = Host(tmp_path, native)
    checkpoint = PodCheckpoint(tmp_path / "pods/u1")
    bundle = checkpoint.bundle("main", 0)
    bundle.mkdir(parents=True)
    checkpoint.save_attempt(Attempt("main", 0, "busybox"))
    checkpoint.save_sandbox(ObservedState(started_at=1.0), "native")
    with open(bundle / "config.json", "w") as monitor:
        fcntl.flock(monitor, fcntl.LOCK_EX)
        started = threading.Timer(1.0, fcntl.flock, (monitor, fcntl.LOCK_UN))
        started.start()
        worker = Worker(host.deps(puller=Pulling()), pod(meta={"uid": "u1"}))
        # So that nothing is started once that is over.
        worker.evict(reason="Evicted", message="the node is low on disk", grace=0)
        task = asyncio.ensure_future(worker.run())
        await asyncio.sleep(0.1)
        assert started.is_alive()
        await asyncio.to_thread(started.join)
        async with asyncio.timeout(5):
            while bundle.exists():
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_new_agent_knows_that_all_containers_were_restarted(tmp_path: Path) -> None:
    """The attempts before count no more, whether that was saved or shows by an attempt since then."""
    host = Host(tmp_path)
    item = pod(meta={"uid": "u1"})
    worker = Worker(host.deps(), item)
    worker.folder.mkdir(parents=True)
    await worker._do(RestartAll(Attempt("main", 0, "busybox", started_at=1.0, finished_at=2.0, code=88)))
    assert "restarting all containers" in str(host.events)
    again = Worker(host.deps(), item)
    assert again.observed.epoch == 1
    again._state.started(Attempt("main", 0, "busybox", started_at=1.0, finished_at=2.0))
    assert again.observed.current("main") is None
    again._state.started(Attempt("main", 1, "busybox", epoch=2))
    assert again.observed.epoch == 2
    assert again.observed.current("main") is not None


@asynccontextmanager
async def slow_deletions(host: Host, worker: Worker) -> AsyncIterator[None]:
    """The pod has many files: its deletions get no further for now."""
    gate = threading.Event()
    share = worker._deps.pools.deletions.of(worker.uid)
    turn = asyncio.ensure_future(share.run(gate.wait, 30))
    await settle()
    try:
        yield
    finally:
        gate.set()
        await turn


async def test_a_pod_has_ended_while_its_volumes_are_being_deleted(tmp_path: Path) -> None:
    """It is reported, its address is free, and an agent that starts again continues the deletion."""
    ending = PodTermination(tmp_path)
    file = ending.worker.folder / "volumes/cache/file"
    file.parent.mkdir(parents=True)
    file.touch()
    async with slow_deletions(ending.host, ending.worker), ending.working():
        await ending.after(1)
        assert ending.host.reports[-1][0].phase == "Succeeded"
        assert ending.worker.over()
        assert not ending.worker.cleaned()
        assert free(ending.host.ipam, ending.worker.observed.address)
        assert file.exists()
    PodCheckpoint(ending.worker.folder).save_attempt(ending.worker.observed.attempts["main"][0])
    another = Worker(ending.host.deps(), ending.worker.pod)
    task = asyncio.ensure_future(another.run())
    await eventually(lambda: not file.parent.parent.exists() and another.cleaned())
    assert another.over()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_deleted_pod_with_many_files_is_not_held_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is reported as it is, and as gone once nothing of it is left."""
    monkeypatch.setattr(removal, "SLOW", 0.01)
    ending = PodTermination(tmp_path, deletionTimestamp="2001-01-01T00:00:00Z")
    async with ending.working():
        async with slow_deletions(ending.host, ending.worker):
            await eventually(lambda: ending.host.reports)
            assert [(status.phase, removed) for status, removed in ending.host.reports] == [("Succeeded", False)]
            assert ending.worker.over()
        await eventually(lambda: [removed for _, removed in ending.host.reports if removed])
    assert not ending.worker.folder.exists()


async def test_a_pod_is_isolated_before_it_is_attached(tmp_path: Path) -> None:
    """And not attached without its rules; its new labels are passed on, and its end once it is released."""
    host = Host(tmp_path)
    host.isolation.fault = "nftables fails"
    worker = Worker(host.deps(images=EveryImage()), pod(meta={"uid": "u1", "labels": {"app": "web"}}))
    worker.folder.mkdir(parents=True, exist_ok=True)
    task = asyncio.ensure_future(worker.run())
    try:
        await eventually(lambda: ("FailedCreatePodSandBox", "Failed to create pod sandbox: nftables fails") in host.events)
        assert not host.network.attached
        host.isolation.fault = ""
        worker.nudge()
        await eventually(lambda: "u1" in host.network.attached)
        assert host.isolation.attached == {"u1": False}
        assert host.isolation.pods["u1"] == Pod("default", {"app": "web"}, worker.observed.addresses)
        worker.update(pod(meta={"uid": "u1", "labels": {"app": "db"}}))
        assert host.isolation.pods["u1"].labels == {"app": "db"}
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
