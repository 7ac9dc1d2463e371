"""The node's addresses as the control plane knows them. Pods report no others: it would drop such reports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pinnace.api.v1 import nodes_pb2


class Announcement:
    """`present` returns the addresses that the node has now."""

    def __init__(self, present: Callable[[], tuple[str, ...]]) -> None:
        self._present = present
        self._greeted: tuple[str, ...] = ()
        self._answered: tuple[str, ...] = ()
        self._met = asyncio.Event()

    def greet(self, hello: Callable[[], nodes_pb2.Hello]) -> nodes_pb2.Hello:
        """A session's hello, which has the present addresses."""
        self._greeted = self._present()
        return hello()

    def welcomed(self) -> bool:
        """The hello was answered. Returns whether it had other addresses than the one before."""
        before, self._answered = self._answered, self._greeted
        self._met.set()
        return before != self._answered

    def host_ips(self) -> tuple[str, ...]:
        """Of the node, for its pods: those of the last hello that was answered."""
        return self._answered or self._present()

    async def report(self, send: Callable[[], Awaitable[None]]) -> None:
        """Not before the first hello was answered. Raises as `send` does."""
        await self._met.wait()
        await send()
