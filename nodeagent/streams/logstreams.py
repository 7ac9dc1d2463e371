"""Streams of container logs: which runs of a container they show; `logs` reads the files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from nodeagent.pods import restarts
from nodeagent.pods.manager import PodManager
from nodeagent.pods.model import Attempt
from nodeagent.pods.worker import Worker
from nodeagent.runtime import logreader
from nodeagent.runtime.logreader import POLL
from nodeagent.streams.frames import CHUNK, Frame, Handler
from pinnace import podspec
from pinnace.api.v1 import streams_pb2
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
        options = streams_pb2.LogOptions()
        options.CopyFrom(opening.logs)
        sender = _Sender(outgoing)
        attempt = await self._first(worker, opening)
        while attempt is not None:
            await self._send(worker, attempt, options, sender)
            if not options.follow or options.untilExit or options.previous or sender.full(options.limitBytes):
                return
            attempt = await self._after(worker, attempt)
            # What the tail was counted from has been said.
            options.ClearField("tailLines")
            await sender.end_line()

    async def _first(self, worker: Worker, opening: Any) -> Attempt | None:
        """The run that is asked for. Raises BadRequest."""
        name, options = opening.container, opening.logs
        attempts = worker.observed.attempts.get(name, ())
        if options.previous:
            if len(attempts) < 2:
                raise BadRequest(f'previous terminated container "{name}" in pod "{opening.pod}" not found')
            return attempts[-2]
        if attempts:
            return attempts[-1]
        if not options.wait:
            raise BadRequest(f'container "{name}" in pod "{opening.pod}" is waiting to start{_waiting_for(worker, name)}')
        return await self._after(worker, Attempt(name, -1, ""))

    async def _after(self, worker: Worker, attempt: Attempt) -> Attempt | None:
        """The next run of the container, None when there will be none."""
        while True:
            later = [item for item in worker.observed.attempts.get(attempt.name, ()) if item.number > attempt.number]
            if later:
                return later[0]
            if self._over(worker, attempt.name):
                return None
            await self._clock.sleep(POLL)

    def _over(self, worker: Worker, name: str) -> bool:
        """Whether the container will not run again."""
        pod, observed = worker.pod, worker.observed
        if self._pods.workers.get(worker.uid) is not worker or worker.gone or pod.metadata.deletionTimestamp.seconds:
            return True
        if observed.eviction is not None or pod.status.phase in ("Succeeded", "Failed"):
            return True
        container = podspec.find(pod, name)
        if container is None:
            return True
        last = observed.last(name)
        if name in (item.name for item in podspec.ephemeral(pod)):
            return last is not None and not last.running
        init = name in (item.name for item in pod.spec.initContainers)
        return not restarts.runs_again(pod, container, observed, init=init)

    async def _send(self, worker: Worker, attempt: Attempt, options: Any, sender: _Sender) -> None:
        def ended() -> bool:
            now = next((a for a in worker.observed.attempts.get(attempt.name, ()) if a.number == attempt.number), None)
            return now is None or not now.running

        async for chunk in logreader.read(worker.log_of(attempt.name, attempt.number), options, self._clock, ended):
            await sender.put(chunk, options.limitBytes)
            if sender.full(options.limitBytes):
                return


def _waiting_for(worker: Worker, name: str) -> str:
    """What keeps a container that never ran from starting."""
    failure = worker.observed.step_failures.get(name) or worker.observed.step_failures.get("")
    if failure is not None:
        return f": {failure.message}"
    pending = [item.name for item in worker.pod.spec.initContainers if item.name != name]
    return f": init containers come first ({', '.join(pending)})" if pending else ""


class _Sender:
    """Chunks as frames, and what must be known of them: how much it was, and whether it ended a line."""

    def __init__(self, outgoing: asyncio.Queue[Any]) -> None:
        self._outgoing = outgoing
        self._sent = 0
        self._last = b"\n"

    def full(self, limit: int) -> bool:
        return bool(limit) and self._sent >= limit

    async def put(self, chunk: bytes, limit: int) -> None:
        chunk = chunk[: limit - self._sent] if limit else chunk
        for start in range(0, len(chunk), CHUNK):
            await self._outgoing.put(Frame(stdout=chunk[start : start + CHUNK]))
        self._sent += len(chunk)
        self._last = chunk[-1:] or self._last

    async def end_line(self) -> None:
        """A run that ended in the middle of a line is not to run into the next one."""
        if self._last != b"\n":
            await self.put(b"\n", 0)
