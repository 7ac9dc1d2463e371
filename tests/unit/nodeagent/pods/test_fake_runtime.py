"""Pods from start to end on the fake runtime: worker, containers, hooks and probes together, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nodeagent.pods.worker import Worker
from tests.support.awaiting import eventually
from tests.support.hosting import EveryImage, Host
from tests.support.objects import container, pod

IDLE = ["sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done"]


class Running:
    """A pod whose containers are processes of this machine; hooks and probes get the answers of `host.answers`."""

    def __init__(self, folder: Path) -> None:
        self.host = Host(folder)
        self.worker: Any = None

    @asynccontextmanager
    async def pod(self, *containers: Any, **spec: Any) -> AsyncIterator[None]:
        images = EveryImage()
        item = pod("web", *containers, meta={"uid": "u1"}, **spec)
        self.worker = Worker(self.host.deps(images=images, puller=images), item)
        task = asyncio.ensure_future(self.worker.run())
        try:
            yield
        finally:
            if not task.done():
                self.worker.leave()
                await self.until(task.done)
            await task

    async def until(self, check: Callable[[], Any], step: float = 0.05) -> Any:
        return await eventually(check, clock=self.host.clock, step=step)

    @property
    def status(self) -> Any:
        """What was reported last."""
        return self.host.reports[-1][0] if self.host.reports else None

    def phase(self) -> str:
        return str(self.status.phase) if self.status is not None else ""

    def state(self, name: str = "main") -> Any:
        """The container's status; None before there is one."""
        listed = self.status.containerStatuses if self.status is not None else ()
        return next((item for item in listed if item.name == name), None)

    def ready(self) -> bool:
        return bool((state := self.state()) is not None and state.ready)

    def delete(self, grace: int = 30) -> None:
        item = type(self.worker.pod)()
        item.CopyFrom(self.worker.pod)
        item.metadata.deletionTimestamp.seconds = int(self.host.clock.now()) + grace
        item.metadata.deletionGracePeriodSeconds = grace
        self.worker.update(item)

    def heard(self, reason: str) -> list[str]:
        return [message for name, message in self.host.events if name == reason]


@pytest.fixture
def node(tmp_path: Path) -> Running:
    return Running(tmp_path)


async def test_a_pod_runs_to_its_end(node: Running) -> None:
    """It has an address meanwhile; its log stays until it is deleted, and then nothing of it does."""
    script = ["sh", "-c", "echo $GREETING; exit 0"]
    main = container("main", command=script, env=[{"name": "GREETING", "value": "hello"}])
    async with node.pod(main, restartPolicy="Never"):
        await node.until(lambda: node.phase() == "Succeeded" and node.worker.over())
        assert (node.state().state.terminated.exitCode, node.status.podIP) == (0, "10.244.1.2")
        assert node.worker.log_of("main", 0).read_text().endswith("stdout F hello\n")
        assert node.host.network.attached == {}
    assert node.host.reports[-1][1]
    assert not node.worker.folder.exists()


async def test_a_container_that_fails_is_restarted_after_a_back_off(node: Running) -> None:
    """At once the first time, then later and later; its exit code is reported."""
    async with node.pod(container("main", command=["sh", "-c", "exit 3"]), restartPolicy="OnFailure"):
        await node.until(lambda: node.state() and node.state().restartCount == 2)
        before, last = node.worker.observed.attempts["main"]
        assert (before.number, last.number) == (1, 2)
        assert last.started_at - before.finished_at >= 10
        assert node.state().lastState.terminated.exitCode == 3


async def test_a_start_that_fails_names_the_program(node: Running) -> None:
    """The fake has no pins, so its sandbox counts as lost, and the start is tried again."""
    async with node.pod(container("main", command=["/no/such/program"]), restartPolicy="Never"):
        await node.until(lambda: len(node.heard("Failed")) >= 2)
        assert all("/no/such/program" in message for message in node.heard("Failed"))


async def test_a_post_start_hook_runs_before_the_container_is_ready(node: Running) -> None:
    """Once."""
    hook = {"postStart": {"exec": {"command": ["warm", "up"]}}}
    async with node.pod(container("main", command=IDLE, lifecycle=hook)):
        await node.until(node.ready)
        assert node.host.executed == [["warm", "up"]]


async def test_probes_begin_once_the_post_start_hook_has_ended(node: Running) -> None:
    """As long as it takes."""
    gate = node.host.gates["warm"] = asyncio.Event()
    hook = {"postStart": {"exec": {"command": ["warm"]}}}
    probe = {"exec": {"command": ["ask"]}, "periodSeconds": 1}
    async with node.pod(container("main", command=IDLE, lifecycle=hook, readinessProbe=probe)):
        await node.until(lambda: node.host.executed)
        await node.host.clock.advance(60)
        assert node.host.executed == [["warm"]]
        gate.set()
        await node.until(node.ready)
        assert node.host.executed[1] == ["ask"]


async def test_a_post_start_hook_that_fails_ends_the_container(node: Running) -> None:
    """It never was ready, and it is restarted as after any failure."""
    node.host.answers["warm"] = (1, "cold")
    hook = {"postStart": {"exec": {"command": ["warm"]}}}
    async with node.pod(container("main", command=IDLE, lifecycle=hook)):
        await node.until(lambda: node.state() and node.state().restartCount >= 1)
        assert node.heard("FailedPostStartHook")
        assert not any(state.ready for status, _ in node.host.reports for state in status.containerStatuses)


async def test_a_pre_stop_hook_runs_before_the_stop_signal(node: Running) -> None:
    """The program is still there when it runs."""
    hook = {"preStop": {"exec": {"command": ["drain"]}}}
    async with node.pod(container("main", command=IDLE, lifecycle=hook)):
        await node.until(node.ready)
        assert node.host.executed == []
        node.delete()
        await node.until(lambda: node.host.executed)
        [attempt] = node.worker.observed.attempts["main"]
        assert attempt.running
        await node.until(lambda: any(removed for _, removed in node.host.reports))
    assert node.host.executed == [["drain"]]


async def test_a_container_is_ready_once_its_probe_has_passed(node: Running) -> None:
    """And no longer when it fails; each check is asked of the container."""
    node.host.answers["ask"] = (1, "not yet")
    probe = {"exec": {"command": ["ask"]}, "periodSeconds": 1, "failureThreshold": 1}
    async with node.pod(container("main", command=IDLE, readinessProbe=probe)):
        await node.until(lambda: len(node.host.executed) >= 3)
        assert not node.ready()
        assert node.heard("Unhealthy")
        node.host.answers["ask"] = (0, "")
        await node.until(node.ready)
        node.host.answers["ask"] = (1, "no more")
        await node.until(lambda: not node.ready())


async def test_a_container_whose_liveness_probe_fails_is_restarted(node: Running) -> None:
    """After as many failures in a row as the probe says."""
    node.host.answers["alive"] = (1, "dead")
    probe = {"exec": {"command": ["alive"]}, "periodSeconds": 1, "failureThreshold": 2}
    async with node.pod(container("main", command=IDLE, livenessProbe=probe)):
        await node.until(lambda: node.state() and node.state().restartCount == 1)
        assert any("liveness" in message for message in node.heard("Killing"))


async def test_a_startup_probe_holds_back_the_others(node: Running) -> None:
    """Until it has passed, nothing else is asked."""
    node.host.answers["begun"] = (1, "")
    probes = {
        "startupProbe": {"exec": {"command": ["begun"]}, "periodSeconds": 1, "failureThreshold": 100},
        "readinessProbe": {"exec": {"command": ["ask"]}, "periodSeconds": 1},
    }
    async with node.pod(container("main", command=IDLE, **probes)):
        await node.until(lambda: len(node.host.executed) >= 3)
        assert ["ask"] not in node.host.executed
        node.host.answers["begun"] = (0, "")
        await node.until(node.ready)
        assert ["ask"] in node.host.executed


async def test_a_program_that_ignores_its_signal_is_killed_after_its_grace(node: Running) -> None:
    """Neither sooner nor by itself."""
    stubborn = ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"]
    async with node.pod(container("main", command=stubborn)):
        await node.until(node.ready)
        node.delete(grace=20)
        began = node.host.clock.now()
        await node.until(lambda: any(removed for _, removed in node.host.reports), step=0.5)
        assert node.host.clock.now() - began >= 20
    assert node.worker.observed.attempts["main"][-1].signal == 9


async def test_init_containers_run_before_the_others(node: Running) -> None:
    """One after the other."""
    order = node.host.folder / "order"
    first, second, main = (
        container(name, command=["sh", "-c", f"echo {name} >> {order}"]) for name in ("first", "second", "main")
    )
    async with node.pod(main, init=(first, second), restartPolicy="Never"):
        await node.until(lambda: node.phase() == "Succeeded")
        assert order.read_text().split() == ["first", "second", "main"]


async def test_a_new_worker_resumes_what_runs(node: Running) -> None:
    """The same attempt of the same container."""
    async with node.pod(container("main", command=IDLE)):
        await node.until(node.ready)
        handle = node.worker.handles["main"]
        runtime = node.worker._deps.runtimes
        again = Worker(node.worker._deps, node.worker.pod)
        task = asyncio.ensure_future(again.run())
        await node.until(lambda: again.handles)
        assert (again.handles["main"], again._deps.runtimes) == (handle, runtime)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("cause", ["evict", "deadline"])
async def test_a_pod_whose_time_is_over_is_ended(node: Running, cause: str) -> None:
    """Failed, with the reason, though its policy would restart it."""
    spec = {"activeDeadlineSeconds": 60} if cause == "deadline" else {}
    async with node.pod(container("main", command=IDLE), **spec):
        await node.until(node.ready)
        if cause == "evict":
            node.worker.evict(reason="Evicted", message="the node is low on memory", grace=0)
        await node.until(lambda: node.phase() == "Failed", step=1.0)
        assert node.status.reason == {"evict": "Evicted", "deadline": "DeadlineExceeded"}[cause]
