"""Starts that fail: what is tried again, how soon, and what a failed start leaves of the run before it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from nodeagent.pods.containers import Containers
from nodeagent.pods.context import PodContext
from nodeagent.pods.model import Attempt, ContainerTermination, LifecycleState
from nodeagent.pods.steps import Start, next_step
from nodeagent.runtime.interface import Exit, Handle, RuntimeLost, SandboxConfig, StartError
from tests.support.hosting import EveryImage, Host
from tests.support.objects import pod


class Failing:
    """A runtime whose starts fail with what `fault` is."""

    def __init__(self, fault: Exception) -> None:
        self.fault = fault
        self.starts = 0

    async def create_sandbox(self, config: SandboxConfig) -> None: ...

    async def remove_sandbox(self, folder: Path) -> None: ...

    async def start(self, bundle: Path) -> Handle:
        self.starts += 1
        raise self.fault

    async def wait(self, handle: Handle) -> Exit:
        raise AssertionError("nothing runs")

    def recover(self, bundle: Path) -> Handle | Exit | None:
        return None


class Starting:
    def __init__(self, folder: Path, runtime: Any, *, whole: bool, **spec: Any) -> None:
        self.host = Host(folder, runtime)
        images = EveryImage()
        self.pod_ctx = PodContext(self.host.deps(images=images, puller=images), pod(meta={"uid": "u1"}, **spec))
        self.pod_ctx.observed.volumes = self.pod_ctx.observed.sandbox = True
        self.containers = Containers(self.pod_ctx, whole=lambda: whole)

    def step(self) -> Any:
        pod_ctx, now = self.pod_ctx, self.host.clock.now()
        return next_step(pod_ctx.pod, gone=False, observed=pod_ctx.observed, now=now, policy=pod_ctx.deps.policy)

    async def live(self, seconds: float) -> None:
        """As the worker does, with a sandbox that can always be made."""
        end = self.host.clock.now() + seconds
        for _ in range(1000):
            step = self.step()
            if isinstance(step, Start):
                await self.containers.start(step)
            elif not self.pod_ctx.observed.sandbox and type(step).__name__ == "CreateSandbox":
                self.pod_ctx.observed.sandbox = True
                self.pod_ctx.observed.step_failures.pop("", None)
            elif step.until is None or step.until > end:
                return
            else:
                await self.host.clock.advance(step.until - self.host.clock.now() + 0.01)
        raise AssertionError("it never waited")


async def test_a_sandbox_that_is_lost_again_and_again_is_waited_for(tmp_path: Path) -> None:
    """Once it is made again at once; a reaper that dies whenever it starts (of its pod's own memory limit, say) is no
    reason to try without end."""
    runtime = Failing(StartError("its process 1 has gone"))
    starting = Starting(tmp_path, runtime, whole=False)
    await starting.live(60)
    assert 3 < runtime.starts < 10


async def test_a_runtime_that_is_lost_for_long_is_asked_more_and_more_seldom(tmp_path: Path) -> None:
    """And each try has its event."""
    runtime = Failing(RuntimeLost("the launcher did not start"))
    starting = Starting(tmp_path, runtime, whole=True)
    await starting.live(600)
    assert runtime.starts < 12
    assert starting.host.events.count(("Failed", "the launcher did not start")) == runtime.starts


async def test_a_disk_that_is_full_is_no_fault_of_the_container(tmp_path: Path) -> None:
    """A start that cannot be prepared is tried again, and counts as no run."""
    runtime = Failing(OSError(28, "No space left on device"))
    starting = Starting(tmp_path, runtime, whole=True, restartPolicy="Never")
    await starting.live(60)
    assert 3 < runtime.starts < 10
    assert starting.pod_ctx.observed.last("main") is None


async def test_a_failed_start_is_a_run_of_its_own(tmp_path: Path) -> None:
    """What was said to the run before it (to stop, for a new image) is over."""
    starting = Starting(tmp_path, Failing(StartError("executable file not found")), whole=True, restartPolicy="Never")
    starting.pod_ctx.observed.lifecycles["main"] = LifecycleState(
        started=True, stopping=ContainerTermination(0.0, 0.0, killed=True)
    )
    await starting.containers.start(Start("main", 1, 0))
    assert starting.pod_ctx.observed.lifecycle("main") == LifecycleState()


class Ended(Failing):
    """A runtime whose container has ended."""

    async def wait(self, handle: Handle) -> Exit:
        return Exit(0, 2.0)


async def test_what_a_container_wrote_is_deleted_beside_the_loop(tmp_path: Path) -> None:
    """It may be a million files, and every other pod of the node would wait."""
    starting = Starting(tmp_path, Ended(StartError("")), whole=True, restartPolicy="Never")
    bundle = starting.pod_ctx.state.checkpoint.bundle("main", 0)
    (bundle / "upper").mkdir(parents=True)
    for number in range(5000):
        (bundle / f"upper/{number}").touch()
    starting.pod_ctx.observed.attempts["main"] = (Attempt("main", 0, "busybox", started_at=1.0),)
    starting.containers._follow(Handle(bundle, 1, 1, 1, 1, 1.0), "main")
    went_on = 0
    async with asyncio.timeout(10):
        while (bundle / "upper").exists():
            await asyncio.sleep(0)
            last = starting.pod_ctx.observed.last("main")
            went_on += last is not None and not last.running and (bundle / "upper").exists()
    assert went_on


class Brief(Failing):
    """A runtime whose containers end at once."""

    async def start(self, bundle: Path) -> Handle:
        (bundle / "upper").mkdir()
        return Handle(bundle, 1, 1, 1, 1, 1.0)

    async def wait(self, handle: Handle) -> Exit:
        return Exit(1, 2.0)


async def test_a_container_that_is_restarted_often_leaves_no_more_than_two_runs(tmp_path: Path) -> None:
    """In memory, on disk, and among the tasks."""
    starting = Starting(tmp_path, Brief(StartError("")), whole=True)
    before = len(asyncio.all_tasks())
    for number in range(30):
        await starting.containers.start(Start("main", number, 0))
        (starting.pod_ctx.logs / "main" / f"{number}.log").touch()
        await starting.pod_ctx.state.changed.wait()
        starting.pod_ctx.state.changed.clear()
        await asyncio.sleep(0.01)
    assert sorted(path.name for path in starting.pod_ctx.folder.glob("containers/main/*")) == ["28", "29"]
    assert sorted(path.name for path in starting.pod_ctx.logs.glob("main/*")) == ["28.log", "29.log"]
    assert len(starting.pod_ctx.observed.attempts["main"]) == 2
    assert not starting.containers.lifecycles._tasks
    async with asyncio.timeout(10):
        # The last one still deletes the container's files, in a thread.
        while len(asyncio.all_tasks()) > before:
            await asyncio.sleep(0.01)
    assert not list(starting.pod_ctx.folder.glob("containers/main/*/upper"))
