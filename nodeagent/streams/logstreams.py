"""Streams of container logs; `logs` reads the files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from nodeagent.pods.manager import PodManager
from nodeagent.streams import logs
from nodeagent.streams.frames import CHUNK, Frame, Handler, exhaust
from pinnace.clock import Clock
from pinnace.errors import BadRequest, NotFound


class LogStreams:
    def __init__(self, pods: PodManager, clock: Clock) -> None:
        self._pods = pods
        self._clock = clock

    def handlers(self) -> dict[str, Handler]:
        return {"logs": self._logs}

    async def _logs(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        worker = self._pods.find(opening.namespace, opening.pod)
        if worker is None:
            raise NotFound(f'pod "{opening.pod}" is not on this node')
        attempts = worker.seen.attempts.get(opening.container, ())
        if opening.logs.previous:
            if len(attempts) < 2:
                raise BadRequest(f'previous terminated container "{opening.container}" in pod "{opening.pod}" not found')
            attempt = attempts[-2]
        elif attempts:
            attempt = attempts[-1]
        else:
            raise BadRequest(f'container "{opening.container}" in pod "{opening.pod}" is waiting to start')
        path = worker.log_of(opening.container, attempt.number)

        def ended() -> bool:
            last = next((a for a in worker.seen.attempts.get(opening.container, ()) if a.number == attempt.number), None)
            return last is None or not last.running

        follower = asyncio.ensure_future(self._send_logs(path, opening.logs, ended, outgoing))
        gone = asyncio.ensure_future(exhaust(incoming))
        try:
            await asyncio.wait({follower, gone}, return_when=asyncio.FIRST_COMPLETED)
            if follower.done():
                follower.result()
        finally:
            follower.cancel()
            gone.cancel()

    async def _send_logs(self, path: Path, options: Any, ended: Any, outgoing: asyncio.Queue[Any]) -> None:
        async for chunk in logs.read(path, options, self._clock, ended):
            for start in range(0, len(chunk), CHUNK):
                await outgoing.put(Frame(stdout=chunk[start : start + CHUNK]))
