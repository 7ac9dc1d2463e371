"""Commands that the agent runs in containers for itself: what probes and hooks stand on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from nodeagent.probes.command import TIMED_OUT, run_in
from nodeagent.runtime.interface import ExecConfig, StartError
from tests.support.containers import Host, host

pytestmark = pytest.mark.root
SLEEP = ("sleep", "600")


@pytest_asyncio.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Host]:
    async with host(tmp_path) as found:
        yield found


async def test_code_and_output_come_back(machine: Host) -> None:
    """Both streams, in the container's environment, with the program's own code and that of a signal."""
    handle = await machine.start(*SLEEP)
    said = await run_in(machine.runtime, handle, ("sh", "-c", "echo out; echo err >&2; hostname; exit 3"), timeout=10)
    assert (said.code, said.output, said.timed_out) == (3, "out\nerr\nhost\n", False)
    assert (await run_in(machine.runtime, handle, ("sh", "-c", "kill -9 $$"), timeout=10)).code == 137


async def test_output_is_bounded_and_the_rest_is_thrown_away(machine: Host) -> None:
    """A command that says too much ends all the same."""
    handle = await machine.start(*SLEEP)
    said = await run_in(machine.runtime, handle, ("sh", "-c", "yes | head -c 3000000; exit 5"), timeout=20, limit=100)
    assert (said.code, len(said.output)) == (5, 100)


async def test_deadline_kills_all_that_the_command_started(machine: Host) -> None:
    """Also what has left its session and its parent; the container itself goes on."""
    handle = await machine.start(*SLEEP)
    script = "setsid sh -c 'sleep 601 & sleep 602 &' & echo begun; sleep 603"
    said = await run_in(machine.runtime, handle, ("sh", "-c", script), timeout=1)
    assert (said.code, said.output, said.timed_out) == (TIMED_OUT, "begun\n", True)
    async with asyncio.timeout(10):
        while machine.processes(handle) > 1:
            await asyncio.sleep(0.02)
    assert (await run_in(machine.runtime, handle, ("true",), timeout=10)).code == 0


async def test_what_a_command_leaves_running_stays_as_the_containers(machine: Host) -> None:
    """A child that holds the output open does not hold up the answer, and no cgroup of the exec is left."""
    handle = await machine.start(*SLEEP)
    said = await run_in(machine.runtime, handle, ("sh", "-c", "sleep 604 & echo started"), timeout=10)
    assert (said.code, said.output) == (0, "started\n")
    assert machine.processes(handle) == 2
    folders = [Path(folder) for folder in machine.cgroups.folders(f"pod/{handle.bundle.name}")]
    assert [entry for folder in folders for entry in folder.glob("exec-*")] == []


async def test_what_cannot_be_started_says_so(machine: Host) -> None:
    """A missing program, and a container that has ended."""
    handle = await machine.start(*SLEEP)
    with pytest.raises(StartError, match="executable file not found"):
        await run_in(machine.runtime, handle, ("nope",), timeout=10)
    machine.cgroups.kill(f"pod/{handle.bundle.name}")
    await machine.runtime.wait(handle)
    with pytest.raises(StartError, match="not running"):
        await run_in(machine.runtime, handle, ("true",), timeout=10)


async def test_many_run_at_once(machine: Host) -> None:
    """Each has its own answer."""
    handle = await machine.start(*SLEEP)
    calls = [run_in(machine.runtime, handle, ("sh", "-c", f"echo {n}; exit {n}"), timeout=30) for n in range(24)]
    said = await asyncio.gather(*calls)
    assert [(item.code, item.output) for item in said] == [(n, f"{n}\n") for n in range(24)]


async def test_environment_can_be_added_to(machine: Host) -> None:
    """What comes on top wins."""
    handle = await machine.start(*SLEEP)
    config = ExecConfig(("sh", "-c", '[ "$A" = 1 ] && [ "$HOME" = /x ]'), env=("A=1", "HOME=/x"))
    with open("/dev/null") as null:
        assert await machine.runtime.exec(handle, config, (null.fileno(),) * 3) == 0
