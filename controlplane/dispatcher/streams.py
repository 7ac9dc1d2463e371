"""Streams: frames from a person's call to the agent's answering call and back, through bounded queues.

A full queue stops the reader of the other side, and gRPC's flow control carries that to the far end: a slow reader
holds back its writer and never grows memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from pinnace.api.v1 import nodes_pb2, streams_pb2
from pinnace.clock import Ids
from pinnace.errors import Forbidden, NotFound, TooManyRequests, Unavailable

Frame = streams_pb2.Frame
# Frames in flight in each direction; a frame is at most 64 KiB by convention.
DEPTH = 16
# Seconds that an agent has to answer an offer.
ANSWER_WITHIN = 10.0
MAX_STREAMS = 1_000


@dataclass(slots=True)
class Carried:
    """One stream: who may answer, and a queue each way. None ends a direction."""

    node: str
    to_node: asyncio.Queue[Any] = field(default_factory=lambda: asyncio.Queue(DEPTH))
    to_client: asyncio.Queue[Any] = field(default_factory=lambda: asyncio.Queue(DEPTH))
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    # Whether the node has said its last.
    ended: bool = False


class Switchboard:
    """All streams of this control plane. `offer` sends an offer to a node's session; False when it has none."""

    def __init__(self, ids: Ids, offer: Callable[[str, nodes_pb2.StreamOffer], bool]) -> None:
        self._ids = ids
        self._offer = offer
        self._streams: dict[str, Carried] = {}

    async def client(self, node: str, opening: streams_pb2.OpenStream, frames: AsyncIterator[Any] | None) -> AsyncIterator[Any]:
        """The person's side. Raises Unavailable when the node does not answer, TooManyRequests."""
        if len(self._streams) >= MAX_STREAMS:
            raise TooManyRequests(f"{MAX_STREAMS} streams are open already")
        id_, carried = self._ids.uid(), Carried(node)
        self._streams[id_] = carried
        feeder: asyncio.Task[None] | None = None
        try:
            if not self._offer(node, nodes_pb2.StreamOffer(id=id_, open=opening)):
                raise Unavailable(f'the agent of node "{node}" is not connected to this control plane')
            try:
                async with asyncio.timeout(ANSWER_WITHIN):
                    await carried.answered.wait()
            except TimeoutError:
                raise Unavailable(f'the agent of node "{node}" did not answer within {ANSWER_WITHIN:.0f} s') from None
            if frames is not None:
                feeder = asyncio.ensure_future(_pump(frames, carried.to_node))
            while (frame := await carried.to_client.get()) is not None:
                yield frame
            carried.ended = True
        finally:
            self._streams.pop(id_, None)
            if feeder is not None:
                feeder.cancel()
            _end(carried.to_node)
            if carried.answered.is_set() and not carried.ended:
                # On the session, for an agent that is held up by a process that reads nothing reads no frames either.
                self._offer(node, nodes_pb2.StreamOffer(id=id_))

    async def node(self, node: str, frames: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The agent's side. Raises NotFound and Forbidden for an id that is not its own."""
        first = await anext(frames, None)
        carried = self._streams.get(first.id) if first is not None else None
        if carried is None:
            raise NotFound("no such stream: the client has gone")
        if carried.node != node:
            raise Forbidden("this stream belongs to another node")
        carried.answered.set()
        feeder = asyncio.ensure_future(_pump(frames, carried.to_client))
        try:
            while (frame := await carried.to_node.get()) is not None:
                yield frame
        finally:
            feeder.cancel()
            _end(carried.to_client)


async def _pump(frames: AsyncIterator[Any], queue: asyncio.Queue[Any]) -> None:
    """Frames into a queue. The node's last frame ends the stream; the client's end only closes its direction."""
    try:
        async for frame in frames:
            await queue.put(frame)
            if frame.WhichOneof("frame") == "exit":
                await queue.put(None)
                return
    except asyncio.CancelledError:
        raise
    except Exception:
        # The peer is gone; the other side is told below.
        await queue.put(None)


def _end(queue: asyncio.Queue[Any]) -> None:
    while queue.full():
        queue.get_nowait()
    queue.put_nowait(None)
