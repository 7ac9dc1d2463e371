"""Starts that fail: what is tried again, how soon, and what a failed start leaves of the run before it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nodeagent.node import deletion
from nodeagent.pods.containers import Containers
from nodeagent.pods.context import PodContext
from nodeagent.pods.dependencies import WorkerDependencies
from nodeagent.pods.model import Attempt, ContainerTermination, LifecycleState
from nodeagent.pods.steps import Start, next_step
from nodeagent.runtime.interface import Exit, Handle, RuntimeLost, SandboxConfig, StartError
from pinnace.clock import settle
from tests.support.awaiting import eventually
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

    async def ended(self, number: int) -> None:
        def ended() -> bool:
            last = self.pod_ctx.observed.last("main")
            return last is not None and (last.number, last.running) == (number, False)

        await eventually(ended)

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
        await starting.ended(number)
        await starting.pod_ctx.leftovers.done()
    assert sorted(path.name for path in starting.pod_ctx.folder.glob("containers/main/*")) == ["28", "29"]
    assert sorted(path.name for path in starting.pod_ctx.logs.glob("main/*")) == ["28.log", "29.log"]
    assert len(starting.pod_ctx.observed.attempts["main"]) == 2
    assert not starting.containers.lifecycles._tasks
    async with asyncio.timeout(10):
        # The last one still deletes the container's files, in a thread.
        while len(asyncio.all_tasks()) > before:
            await asyncio.sleep(0.01)
    assert not list(starting.pod_ctx.folder.glob("containers/main/*/upper"))


@asynccontextmanager
async def held_up(pod_ctx: PodContext) -> AsyncIterator[None]:
    """The pod's deletions get no further for now, as if a turn took that long."""
    gate = threading.Event()
    turn = asyncio.ensure_future(pod_ctx.deps.pools.deletions.of(pod_ctx.uid).run(gate.wait, 30))
    await settle()
    try:
        yield
    finally:
        gate.set()
        await turn


class Many:
    """A pod on a node that others share, one of whose containers has ended and left `files`."""

    def __init__(self, host: Host, deps: WorkerDependencies, uid: str, files: int) -> None:
        self.pod_ctx = PodContext(deps, pod(uid, meta={"uid": uid}, restartPolicy="Never"))
        self.upper = self.pod_ctx.state.checkpoint.bundle("main", 0) / "upper"
        self.upper.mkdir(parents=True)
        for number in range(files):
            os.close(os.open(self.upper / str(number), os.O_CREAT))
        self.pod_ctx.observed.attempts["main"] = (Attempt("main", 0, "busybox", started_at=1.0),)
        Containers(self.pod_ctx, whole=lambda: True)._follow(Handle(self.upper.parent, 1, 1, 1, 1, 1.0), "main")


async def test_containers_with_many_files_delay_the_deletion_of_no_other_pods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many of them as there are threads for deletions: another pod's files are gone while all of theirs are not."""
    monkeypatch.setattr(deletion, "TURN", 10)
    host = Host(tmp_path, Ended(StartError("")))
    deps = host.deps()
    large = [Many(host, deps, f"large-{number}", 300) for number in range(4)]
    for item in large:
        await item.pod_ctx.state.changed.wait()
    small = Many(host, deps, "small", 3)
    await eventually(lambda: not small.upper.exists())
    assert all(item.upper.exists() for item in large)
    for item in large:
        await item.pod_ctx.leftovers.done()
        assert not item.upper.exists()


async def test_an_end_is_known_and_a_restart_made_while_files_are_being_deleted(tmp_path: Path) -> None:
    """The run after that waits: a container that fills its disk each time has no more than two runs' files."""
    starting = Starting(tmp_path, Brief(StartError("")), whole=True)
    pod_ctx = starting.pod_ctx
    async with held_up(pod_ctx), asyncio.timeout(10):
        for number in (0, 1):
            await starting.containers.start(Start("main", number, 0))
            await starting.ended(number)
            assert pod_ctx.state.changed.is_set()
        await starting.containers.start(Start("main", 2, 0))
        assert pod_ctx.observed.step_failures["main"].message == "files of earlier attempts are being deleted"
        assert [path.name for path in sorted(pod_ctx.folder.glob("containers/main/*"))] == ["0", "1"]
    await pod_ctx.leftovers.done()
    assert not list(pod_ctx.folder.glob("containers/main/*/upper"))
    await starting.containers.start(Start("main", 2, 0))
    assert len(pod_ctx.observed.attempts["main"]) == 2
    await pod_ctx.leftovers.done()
    assert [path.name for path in sorted(pod_ctx.folder.glob("containers/main/*"))] == ["1", "2"]


async def test_a_start_that_is_made_again_waits_for_no_deletion(tmp_path: Path) -> None:
    """Its bundle is put aside first, whatever an earlier start has left in it."""
    starting = Starting(tmp_path, Brief(StartError("")), whole=True)
    bundle = starting.pod_ctx.state.checkpoint.bundle("main", 0)
    (bundle / "upper/of-an-earlier-start").mkdir(parents=True)
    async with held_up(starting.pod_ctx), asyncio.timeout(10):
        await starting.containers.start(Start("main", 0, 0))
        await starting.ended(0)
        assert not list((bundle / "upper").iterdir())
    await starting.pod_ctx.leftovers.done()
    assert [path.name for path in starting.pod_ctx.folder.glob("containers/main/*")] == ["0"]


class Found(Failing):
    """A runtime that knows how the containers have ended of which it finds bundles."""

    def recover(self, bundle: Path) -> Handle | Exit | None:
        return Exit(0, 2.0) if bundle.name == "1" else None


async def test_a_new_agent_deletes_what_is_left_next_to_the_loop(tmp_path: Path) -> None:
    """Of attempts that had ended, that ended without an agent, of which nothing is known, or that were put aside."""
    starting = Starting(tmp_path, Found(StartError("")), whole=True, restartPolicy="Never")
    pod_ctx = starting.pod_ctx
    checkpoint = pod_ctx.state.checkpoint
    for number in range(4):
        (checkpoint.bundle("main", number) / "upper/x").mkdir(parents=True)
    (pod_ctx.folder / "containers/main/.7.0/upper").mkdir(parents=True)
    checkpoint.save_attempt(Attempt("main", 0, "busybox", started_at=1.0, finished_at=2.0))
    checkpoint.save_attempt(Attempt("main", 1, "busybox", started_at=3.0))
    checkpoint.save_attempt(Attempt("main", 2, "busybox"))
    async with held_up(pod_ctx), asyncio.timeout(10):
        await starting.containers.recover()
        assert (checkpoint.bundle("main", 0) / "upper/x").exists()
        assert (checkpoint.bundle("main", 1) / "upper/x").exists()
    await pod_ctx.leftovers.done()
    assert not list(pod_ctx.folder.rglob("upper"))
    assert [path.name for path in sorted(pod_ctx.folder.glob("containers/main/*"))] == ["0", "1"]
