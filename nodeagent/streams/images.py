"""Streams that bring images to the node and list what is there."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from nodeagent.images.reference import familiar
from nodeagent.images.store import Image, ImageStore
from nodeagent.images.unpack import BadImage
from nodeagent.streams.frames import Frame, Handler
from pinnace.api.v1 import streams_pb2
from pinnace.errors import BadRequest

MAX_ARCHIVE = 16 << 30


class ImageStreams:
    def __init__(self, images: ImageStore, arrived: Callable[[], None]) -> None:
        """`arrived` is called when there is a new image, for pods that wait for it."""
        self._images = images
        self._arrived = arrived

    def handlers(self) -> dict[str, Handler]:
        return {"loadImage": self._load, "listImages": self._list}

    async def _list(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        for image in self._images.all():
            for frame in _image_frames(image):
                await outgoing.put(frame)

    async def _load(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        descriptor, name = tempfile.mkstemp(dir=self._images.incoming)
        path = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                total = 0
                async for frame in incoming:
                    if frame.stdinClosed:
                        break
                    total += len(frame.stdin)
                    if total > MAX_ARCHIVE:
                        raise BadRequest(f"the archive is larger than {MAX_ARCHIVE >> 30} GiB")
                    file.write(frame.stdin)
            try:
                loaded = await self._images.load(path, opening.loadImage.reference)
            except BadImage as error:
                raise BadRequest(f"not a usable image: {error}") from None
            for image in loaded:
                for frame in _image_frames(image):
                    await outgoing.put(frame)
            self._arrived()
        finally:
            path.unlink(missing_ok=True)


def _image_frames(image: Image) -> list[Any]:
    names = image.references or ("<none>",)
    return [Frame(image=streams_pb2.Image(reference=familiar(n), id=image.id, sizeBytes=image.size)) for n in names]
