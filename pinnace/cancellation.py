"""Cancellation of a task, apart from that of a call that it waits for.

gRPC cancels calls on its own: when their channel is closed, and when the iterator of their requests raises. The task that waits
for such a call gets a CancelledError too. A task that lets it pass ends as if it had been cancelled, without a log line, and a
TaskGroup continues without it.
"""

from __future__ import annotations

import asyncio


def requested() -> bool:
    """Whether the current task itself is being cancelled. If not, a CancelledError in it is a failure of what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
