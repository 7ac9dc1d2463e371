"""What a pull says while it goes on."""

from __future__ import annotations

import asyncio

import pytest

from nodeagent.images import progress
from nodeagent.images.progress import Pacing
from pinnace.clock import VirtualClock


async def test_progress_is_told_seldom_and_never_twice() -> None:
    """Ten seconds to the first word, then ever longer; a pull that stands still is silent."""
    clock, said, text = VirtualClock(), [], ["1 of 5"]
    start = clock.now()
    task = asyncio.ensure_future(
        progress.tell(
            clock, lambda: text[0], lambda reason, message: said.append((clock.now() - start, message)), Pacing(10.0, 60.0)
        )
    )
    await clock.advance(26.0)
    text[0] = "2 of 5"
    await clock.advance(600.0)
    task.cancel()
    assert said == [(10.0, "1 of 5"), (47.5, "2 of 5")]


def test_the_line_counts_layers_and_bytes() -> None:
    """As in an event of kubelet's style."""
    assert progress.line("app:1", 1, [10_000_000, 2_300_000], [20_000_000, 20_100_000]) == (
        'Pulling image "app:1": 1 of 2 layers, 12.3MB of 40.1MB'
    )
    assert progress.line("app:1", 0, [], []) == 'Pulling image "app:1": waiting for its registry'


@pytest.mark.parametrize(("duration", "text"), [(0.0123, "12ms"), (1.234, "1.2s"), (65.25, "1m5.2s")])
def test_durations_read_as_kubelet_s(duration: float, text: str) -> None:
    """In Go's form."""
    assert progress.seconds(duration) == text
