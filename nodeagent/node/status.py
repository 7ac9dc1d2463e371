"""The node's own status: reported when it changes, and now and then when it does not.

Ready is not here: the control plane says it, from heartbeats. Parts that change (conditions, images) are asked for at
the moment of a report.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pinnace.clock import Clock
from pinnace.core.v1 import node_pb2

Part = Callable[[node_pb2.NodeStatus], None]


class NodeStatusReporter:
    def __init__(
        self, node: node_pb2.Node, send: Callable[[node_pb2.NodeStatus], None], *, every: float, clock: Clock
    ) -> None:  # fmt: skip
        """`node` as the agent described it at its start; `every` in seconds."""
        self._node = node
        self._send = send
        self._every = every
        self._clock = clock
        self._parts: list[Part] = []
        self._wake = asyncio.Event()

    def add(self, part: Part) -> None:
        """`part` fills in what it knows of the status, each time that it is wanted."""
        self._parts.append(part)

    def changed(self) -> None:
        self._wake.set()

    def current(self) -> node_pb2.Node:
        node = node_pb2.Node()
        node.CopyFrom(self._node)
        for part in self._parts:
            part(node.status)
        return node

    def event(self, record: Callable[[Any, str, str, bool], None]) -> Callable[[str, str, bool], None]:
        """`record` for events about this node: reason, message, whether it is a warning."""
        return lambda reason, message, warning: record(self._node, reason, message, warning)

    async def run(self) -> None:
        """Until cancelled. The first status goes with the session's hello."""
        while True:
            await self._clock.wait(self._wake, self._every)
            self._wake.clear()
            self._send(self.current().status)
