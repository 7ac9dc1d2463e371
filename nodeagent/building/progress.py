"""A build's output: a line for each step, notes, and what RUNs write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nodeagent.building.instructions import Instruction

Say = Callable[[bytes], Awaitable[None]]
# Characters of an instruction that are shown.
MAX_SHOWN = 200


class Progress:
    """Counts steps; `total` grows when a base image brings triggers."""

    def __init__(self, say: Say, total: int) -> None:
        self._say = say
        self.total = total
        self.number = 0

    async def step(self, item: Instruction, *, cached: bool = False) -> None:
        self.number += 1
        await self._say(f"[{self.number}/{self.total}] {shown(item.text)}{' CACHED' if cached else ''}\n".encode())

    async def note(self, text: str) -> None:
        await self._say(f"note: {text}\n".encode())


def shown(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
