"""Processes that people run in containers: exec, with pipes or a terminal; and those that copy files for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from nodeagent.pods.manager import PodManager
from nodeagent.runtime.interface import ExecConfig, Handle, StartError
from nodeagent.streams.frames import Ended, Handler
from nodeagent.streams.stdio import Pipes, Session, Terminal
from pinnace.errors import BadRequest


class ProcessStreams:
    def __init__(self, pods: PodManager, runtime: Any) -> None:
        self._pods = pods
        self._runtime = runtime

    def handlers(self) -> dict[str, Handler]:
        return {"exec": self._exec, "copy": self._copy}

    async def _exec(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        handle = running(self._pods, opening)
        config = ExecConfig(tuple(opening.exec.command), opening.exec.tty)
        session = Terminal(outgoing) if opening.exec.tty else Pipes(outgoing, stdin=opening.exec.stdin)
        await _serve(session, incoming, self._runtime.exec(handle, config, session.child, session.adopt))

    async def _copy(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        handle = running(self._pods, opening)
        session = Pipes(outgoing, stdin=opening.copy.unpack)
        copying = self._runtime.copy(handle, opening.copy.path, session.child, unpack=opening.copy.unpack)
        await _serve(session, incoming, copying)


def running(pods: PodManager, opening: Any) -> Handle:
    """The container that a stream names. Raises BadRequest unless it runs."""
    worker = pods.find(opening.namespace, opening.pod)
    handle = worker.handles.get(opening.container) if worker is not None else None
    if handle is None:
        raise BadRequest(f"container {opening.container} in pod {opening.pod} is not running")
    return handle


async def _serve(session: Session, incoming: AsyncIterator[Any], process: Coroutine[Any, Any, int]) -> None:
    """Raises `Ended` with the process's exit code. The client's end cancels this, and that ends the process."""
    feeder = asyncio.ensure_future(session.feed(incoming))
    try:
        code = await process
        session.close_child()
        await session.drained()
        raise Ended(code)
    except StartError as error:
        raise BadRequest(str(error)) from None
    finally:
        feeder.cancel()
        session.close()
