"""Processes that are not our children, named by pid and start time so that a reused pid is not mistaken."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from nodeagent.linux import procfs


def open_process(pid: int, started: int) -> int | None:
    """A pidfd of exactly this process, None when it has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if procfs.start_time(pid) != started:
        os.close(descriptor)
        return None
    return descriptor


def kill(pid: int, started: int) -> None:
    """SIGKILL to exactly this process, if it still runs."""
    descriptor = open_process(pid, started)
    if descriptor is not None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)


def settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def ended(pid: int, started: int) -> None:
    """Wait until a process that is not our child has ended."""
    descriptor = open_process(pid, started)
    if descriptor is None:
        return
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, settle, done)
    try:
        await done
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
