"""Streams of a pod's packets: a pcap file as output, bounded in packets, bytes and time."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from nodeagent.launcher import bundle as names
from nodeagent.network import packets
from nodeagent.network.packets import Capture, Filter
from nodeagent.node import threads
from nodeagent.pods.manager import PodManager
from nodeagent.streams.frames import CHUNK, Frame, Handler
from pinnace.clock import Clock
from pinnace.errors import BadRequest, TooManyRequests, Unavailable

# The node's own limits: packets, bytes and seconds of one capture, and captures at once.
MAX_PACKETS, MAX_BYTES, MAX_SECONDS, MAX_CAPTURES = 1_000_000, 256 << 20, 3600.0, 4
# Seconds that a pod may be without its device, which a repair makes again within five; and between looks for it.
ABSENT, LOOK = 10.0, 0.25


class CaptureStreams:
    def __init__(self, pods: PodManager, clock: Clock) -> None:
        self._pods, self._clock = pods, clock
        self._open = 0

    def handlers(self) -> dict[str, Handler]:
        return {"capture": self._capture}

    async def _capture(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        wanted = opening.capture
        if self._open >= MAX_CAPTURES:
            raise TooManyRequests(f"this node captures for {MAX_CAPTURES} already")
        self._open += 1
        try:
            capture = await self._opened(opening)
            try:
                await _carry(capture, wanted, outgoing, self._clock, device=f"{packets.DEVICE} of pod {opening.pod}")
            finally:
                capture.close()
        finally:
            self._open -= 1

    async def _opened(self, opening: Any) -> Capture:
        """Raises BadRequest."""
        worker = self._pods.find(opening.namespace, opening.pod)
        if worker is None or not worker.observed.sandbox:
            raise BadRequest(f"pod {opening.pod} is not running")
        if worker.pod.spec.hostNetwork:
            raise BadRequest(f"pod {opening.pod} has the node's network: its packets are all of the node's")
        wanted = opening.capture
        try:
            host = str(ipaddress.ip_address(wanted.host)) if wanted.host else ""
        except ValueError:
            raise BadRequest(f"{wanted.host[:60]!r} is not an IP address") from None
        if wanted.port >= 1 << 16:
            raise BadRequest(f"{wanted.port} is not a port")
        snap = min(wanted.snapLength or packets.MAX_SNAP, packets.MAX_SNAP)
        namespace = Path(names.namespace(names.sandbox(worker.folder), "net"))
        try:
            return await threads.streams.run(Capture, namespace, Filter(host, wanted.port), snap)
        except OSError as error:
            raise BadRequest(f"cannot capture in pod {opening.pod}: {error.strerror or error}") from None


async def _carry(capture: Capture, wanted: Any, outgoing: asyncio.Queue[Any], clock: Clock, *, device: str) -> None:
    """Until one of the limits. Records are collected for as long as they come without a pause, so that a file is few frames.

    Raises Unavailable, after all that was captured, when the pod's device is gone for good: the pod has ended, say."""
    left = min(wanted.packets or MAX_PACKETS, MAX_PACKETS)
    room = min(wanted.bytes or MAX_BYTES, MAX_BYTES)
    seconds = min(wanted.millis / 1000 or MAX_SECONDS, MAX_SECONDS)
    await outgoing.put(Frame(stdout=packets.header()))
    end, up = clock.monotonic() + seconds, clock.monotonic()
    while left > 0 and room > 0 and clock.monotonic() < end and clock.monotonic() - up < ABSENT:
        records = await threads.captures.run(_some, capture, left)
        for record in records:
            room -= len(record)
            if room <= 0:
                break
            await outgoing.put(Frame(stdout=record))
        left -= len(records)
        if capture.down:
            await clock.sleep(LOOK)
            capture.reopen()
        else:
            up = clock.monotonic()
    if dropped := capture.dropped():
        await outgoing.put(Frame(progress=f"{dropped} packets were not captured: they came too fast"))
    if clock.monotonic() - up >= ABSENT:
        raise Unavailable(f"{device} has disappeared, or is down")


def _some(capture: Capture, most: int) -> list[bytes]:
    """The packets of a moment, up to a frame's size."""
    found, size = list[bytes](), 0
    while len(found) < most and size < CHUNK:
        record = capture.read(wait=not found)
        if record is None:
            break
        found.append(record)
        size += len(record)
    return found
