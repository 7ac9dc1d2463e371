"""The life of a run: what is on disk when the agent is killed, and what a new agent makes of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodeagent.linux.procfs import start_time
from nodeagent.pods.context import PodContext
from nodeagent.pods.lifecycle import LifecycleManager
from nodeagent.pods.model import Attempt, ContainerTermination, LifecycleState
from nodeagent.pods.steps import Kill, next_step
from nodeagent.runtime.interface import Handle
from pinnace.clock import settle
from tests.support.hosting import Host
from tests.support.objects import container, pod


@pytest.fixture
def program() -> Iterator[subprocess.Popen[bytes]]:
    """Something that runs and takes no notice of SIGTERM."""
    command = ["sh", "-c", "trap '' TERM; sleep 60 & echo; wait; wait; wait"]
    found = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert found.stdout is not None
    found.stdout.readline()
    yield found
    # Its sleep too.
    os.killpg(found.pid, signal.SIGKILL)
    found.wait()
    found.stdout.close()


class Run:
    """A container of a pod that was deleted with no time left."""

    def __init__(self, folder: Path, program: subprocess.Popen[bytes], *containers: Any) -> None:
        self.host = Host(folder)
        deleted = {"deletionTimestamp": "2001-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}
        item = pod("web", *containers, meta={"uid": "u1", **deleted})
        self.pod_ctx = PodContext(self.host.deps(), item)
        self.lifecycles = LifecycleManager(self.pod_ctx)
        attempt = Attempt("main", 0, "busybox", started_at=self.host.clock.now())
        self.pod_ctx.observed.attempts["main"] = (attempt,)
        bundle = self.pod_ctx.state.checkpoint.bundle("main", 0)
        bundle.mkdir(parents=True)
        pid, started = program.pid, start_time(program.pid)
        self.handle = Handle(bundle, pid, started, pid, started, self.host.clock.now())

    def step(self) -> Any:
        pod_ctx, now = self.pod_ctx, self.host.clock.now()
        return next_step(pod_ctx.pod, gone=False, observed=pod_ctx.observed, now=now, policy=pod_ctx.deps.policy)


async def test_an_agent_killed_before_it_could_kill_leaves_that_to_the_next(
    tmp_path: Path, program: subprocess.Popen[bytes]
) -> None:
    """What is on disk says that it was to be killed; nobody knows whether it was."""
    run = Run(tmp_path, program)
    lifecycle = LifecycleState(started=True, stopping=ContainerTermination(0.0, 0.0, signalled=True, killed=True))
    run.lifecycles.resume("main", run.handle, lifecycle)
    assert run.step() == Kill("main")
    run.lifecycles.kill("main")
    assert program.wait(5) == -signal.SIGKILL


async def test_a_signal_is_sent_before_it_is_booked(tmp_path: Path) -> None:
    """An agent that cannot book it, or is killed before, has asked: no program is killed without having been asked."""
    with subprocess.Popen(["sleep", "60"]) as program:
        run = Run(tmp_path, program)
        run.lifecycles.handles["main"] = run.handle
        (run.handle.bundle / "life.json").mkdir()
        run.lifecycles.signal("main", run.host.clock.now() + 30)
        assert program.wait(5) == -signal.SIGTERM


async def test_what_cannot_be_booked_is_done_all_the_same(tmp_path: Path, program: subprocess.Popen[bytes]) -> None:
    """On a full disk containers must stop, or it stays full."""
    run = Run(tmp_path, program)
    run.lifecycles.handles["main"] = run.handle
    (run.handle.bundle / "life.json").mkdir()
    run.lifecycles.terminate("main", ContainerTermination(run.host.clock.now() + 30, 0.0))
    assert run.pod_ctx.state.changed.is_set()
    run.lifecycles.kill("main")
    assert program.wait(5) == -signal.SIGKILL


async def test_a_prober_that_fails_is_not_lost(tmp_path: Path, program: subprocess.Popen[bytes]) -> None:
    """A container that nobody probes any more would stay ready for ever: its worker fails, and a new one takes up."""
    run = Run(tmp_path, program)
    run.pod_ctx.mind(asyncio.ensure_future(failing()))
    await settle()
    assert run.pod_ctx.state.changed.is_set()
    with pytest.raises(ValueError, match="a fault of ours"):
        run.pod_ctx.check()


async def test_probes_of_containers_that_were_running_are_spread_over_their_period(
    tmp_path: Path, program: subprocess.Popen[bytes]
) -> None:
    """An agent that starts finds all containers of the node at once; a container that it starts is probed at once."""
    names = [f"c{number}" for number in range(30)]
    probe = {"exec": {"command": ["ask"]}, "periodSeconds": 1000}
    run = Run(tmp_path, program, *(container(name, readinessProbe=probe) for name in ("main", *names)))
    for name in names:
        run.pod_ctx.observed.attempts[name] = (Attempt(name, 0, "busybox", started_at=run.host.clock.now()),)
        run.lifecycles.resume(name, run.handle, LifecycleState(started=True))
    await settle()
    assert run.host.executed == []
    run.lifecycles.begin("main", run.handle)
    await settle()
    assert run.host.executed == [["ask"]]
    seen = []
    for _ in range(10):
        await run.host.clock.advance(100)
        await settle()
        seen.append(len(run.host.executed))
    run.lifecycles.close()
    assert seen[0] < 1 + len(names) <= seen[-1]
    assert len(set(seen)) > 3


async def failing() -> None:
    raise ValueError("a fault of ours")


async def test_a_container_that_is_told_to_stop_is_not_said_to_be_unhealthy(
    tmp_path: Path, program: subprocess.Popen[bytes]
) -> None:
    """That its probes fail then is what was asked for."""
    run = Run(tmp_path, program, container("main", livenessProbe={"tcpSocket": {"port": 1}, "failureThreshold": 1}))
    run.lifecycles.resume("main", run.handle, LifecycleState())
    run.lifecycles.terminate("main", ContainerTermination(run.host.clock.now() + 30, 0.0))
    for _ in range(50):
        await asyncio.sleep(0.01)
        await run.host.clock.advance(1)
    run.lifecycles.close()
    assert run.host.events == []


@pytest.mark.shows("spec.containers[].lifecycle.postStart.tcpSocket")
async def test_a_tcp_socket_as_a_post_start_hook_stops_the_container(tmp_path: Path, program: subprocess.Popen[bytes]) -> None:
    """It is accepted for old manifests, and fails as in kubelet."""
    run = Run(tmp_path, program, container("main", lifecycle={"postStart": {"tcpSocket": {"port": 1}}}))
    run.lifecycles.resume("main", run.handle, LifecycleState())
    run.lifecycles.post_start("main")
    await settle()
    run.lifecycles.close()
    [event] = run.host.events
    assert "FailedPostStartHook" in str(event)
    assert "invalid handler" in str(event)
    fault = run.pod_ctx.observed.lifecycle("main").fault
    assert fault is not None
    assert "postStart" in str(fault)


@pytest.mark.shows("spec.containers[].lifecycle.preStop.tcpSocket")
async def test_a_tcp_socket_as_a_pre_stop_hook_delays_no_stop(tmp_path: Path, program: subprocess.Popen[bytes]) -> None:
    """It fails at once; the stop signal is next."""
    run = Run(tmp_path, program, container("main", lifecycle={"preStop": {"tcpSocket": {"port": 1}}}))
    run.lifecycles.resume("main", run.handle, LifecycleState())
    run.lifecycles.terminate("main", ContainerTermination(run.host.clock.now() + 30, 0.0))
    await settle()
    run.lifecycles.close()
    [event] = run.host.events
    assert "FailedPreStopHook" in str(event)
    stopping = run.pod_ctx.observed.lifecycle("main").stopping
    assert stopping is not None
    assert stopping.hook == "done"
