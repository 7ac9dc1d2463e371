"""The agent's connection to a launcher that is slow to start, or that cannot start."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.runtime.interface import RuntimeLost
from nodeagent.runtime.link import ANSWER_WITHIN, LAUNCHER_WITHIN, LauncherLink
from pinnace.clock import VirtualClock
from tests.support.awaiting import eventually

pytestmark = pytest.mark.root


@pytest.fixture
def launchers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Killed at the end, also when they are stopped."""
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for launcher in found:
        launcher.kill()
        launcher.wait()


async def stopped(link: LauncherLink) -> subprocess.Popen[bytes]:
    """The launcher that the link has just started, before it listens."""
    launcher = await eventually(lambda: link.launcher)
    os.kill(launcher.pid, signal.SIGSTOP)
    return launcher  # type: ignore[no-any-return]


async def test_a_launcher_that_gets_no_processor_is_waited_for(
    tmp_path: Path, launchers: list[subprocess.Popen[bytes]]
) -> None:
    """It is the one that is used when it listens at last: no other is started, and no request fails."""
    clock = VirtualClock()
    link = LauncherLink(tmp_path, clock)
    connecting = asyncio.create_task(link.connected())
    launchers.append(launcher := await stopped(link))
    await clock.advance(LAUNCHER_WITHIN * 2)
    assert not connecting.done()
    os.kill(launcher.pid, signal.SIGCONT)
    await eventually(connecting.done, clock=clock, step=0.005)
    assert connecting.result()
    assert link.launcher is launcher
    link.disconnect()


async def test_a_launcher_that_never_listens_is_given_up(tmp_path: Path, launchers: list[subprocess.Popen[bytes]]) -> None:
    """The request fails, and names the launcher's log."""
    clock = VirtualClock()
    link = LauncherLink(tmp_path, clock)
    connecting = asyncio.create_task(link.connected())
    launchers.append(await stopped(link))
    await clock.advance(ANSWER_WITHIN + 1)
    with pytest.raises(RuntimeLost, match=r"did not start; see .*launcher\.log"):
        await connecting
