"""How a pull's progress is told: seldom, in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pinnace.clock import Clock


@dataclass(frozen=True, slots=True)
class Pacing:
    """Seconds to the first word of progress, and the most between two."""

    first: float
    most: float


# Each is an event that the control plane keeps; a person who waits wants more.
EVENTS, PERSON = Pacing(10.0, 60.0), Pacing(0.3, 0.3)


async def tell(clock: Clock, text: Callable[[], str], say: Callable[[str, str], None], pacing: Pacing) -> None:
    """Until cancelled. Nothing is said twice."""
    delay, last = pacing.first, ""
    while True:
        await clock.sleep(delay)
        if (now := text()) != last:
            last = now
            say("Pulling", now)
        delay = min(delay * 1.5, pacing.most)


def line(reference: str, done: int, received: list[int], sizes: list[int]) -> str:
    if not sizes:
        return f'Pulling image "{reference}": waiting for its registry'
    counted = f"{megabytes(sum(received))} of {megabytes(sum(sizes))}"
    return f'Pulling image "{reference}": {done} of {len(sizes)} layers, {counted}'


def megabytes(count: int) -> str:
    return f"{count / 1e6:.1f}MB"


def seconds(duration: float) -> str:
    """As Go prints a duration: 850ms, 1.2s, 1m5.3s."""
    if duration < 1:
        return f"{duration * 1000:.0f}ms"
    minutes, rest = divmod(duration, 60)
    return f"{minutes:.0f}m{rest:.1f}s" if minutes else f"{rest:.1f}s"
