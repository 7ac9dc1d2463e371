"""Bytes that arrived for one stream and wait for their consumer: bounded, so that feeding waits for taking."""

from __future__ import annotations

import asyncio
from collections import deque

# Bytes that wait; with one more piece of at most the size of a read.
LIMIT = 64 << 10


class Inbox:
    """One task feeds, one takes."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ended = self._abandoned = False
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def feed(self, data: bytes) -> None:
        """Return once there is room for more, or nothing will be taken."""
        if self._ended or self._abandoned:
            return
        self._pieces.append(data)
        self._size += len(data)
        self._arrived.set()
        if self._size >= LIMIT:
            self._room.clear()
        await self._room.wait()

    def end(self) -> None:
        """Nothing follows what has been fed."""
        self._ended = True
        self._arrived.set()

    def abandon(self) -> None:
        """Nothing will be taken any more: drop what waits and what comes."""
        self._abandoned = True
        self._pieces.clear()
        self._size = 0
        self._arrived.set()
        self._room.set()

    async def take(self) -> bytes:
        """The next piece, b"" at the end."""
        while not self._pieces:
            if self._ended or self._abandoned:
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        data = self._pieces.popleft()
        self._size -= len(data)
        if self._size < LIMIT:
            self._room.set()
        return data
