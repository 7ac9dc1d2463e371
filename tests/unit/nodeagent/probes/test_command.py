"""Commands for the agent's own use, without a container."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from nodeagent.probes.command import run_in
from nodeagent.runtime.interface import ExecConfig, Handle
from tests.support.cancelling import heeded


class Prompt:
    """Runs nothing, and is done with it soon."""

    async def exec(
        self,
        handle: Handle,
        config: ExecConfig,
        stdio: tuple[int, int, int] | None,
        terminal: Callable[[int], None] | None = None,
    ) -> int:
        await asyncio.sleep(0)
        return 0


async def test_a_command_that_is_cancelled_ends() -> None:
    """Also in the moment in which it has ended by itself."""
    handle = Handle(Path("/none"), 1, 1, 1, 1, 0.0)
    assert await heeded(lambda: run_in(Prompt(), handle, ("true",), timeout=5))
