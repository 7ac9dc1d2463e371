"""Streams that build images on this node, and that take a built one away to the others."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from nodeagent.images.build.builder import Request, plan
from nodeagent.images.build.builds import Builds
from nodeagent.images.build.errors import BuildError
from nodeagent.images.registry.credentials import BadSecret, parse_config
from nodeagent.images.store import Image, ImageNotFound, ImageStore
from nodeagent.images.unpack import unpack
from nodeagent.streams.frames import CHUNK, Frame, Handler, exhaust
from pinnace.api.v1 import streams_pb2
from pinnace.errors import BadRequest, Internal, NotFound
from pinnace.oci import BadImage
from pinnace.oci.reference import BadReference, familiar, parse

MAX_CONTEXT = 4 << 30
# Seconds: for the next piece of a context, and for the client to take a line of output (it may be a pager's).
PIECE_WITHIN = 120.0
TAKEN_WITHIN = 3600.0
MAX_TAGS = 32
RUN_TIMEOUT = 3600


class BuildStreams:
    def __init__(self, builds: Builds, images: ImageStore, arrived: Callable[[], None]) -> None:
        """`arrived` is called when there is a new image, for pods that wait for it."""
        self._builds = builds
        self._images = images
        self._arrived = arrived

    def handlers(self) -> dict[str, Handler]:
        return {"buildImage": self._build, "exportImage": self._export}

    async def _build(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        request = _request(opening.buildImage)
        try:
            # Before the context, which may be large.
            plan(request)
            async with self._builds.folder() as folder:
                await _take_context(folder, incoming)
                image = await self._until_gone(request, folder, incoming, outgoing)
        except (BuildError, BadImage) as error:
            raise BadRequest(str(error)) from None
        except OSError as error:
            raise Internal(f"the build failed on this node: {error.strerror or error}") from error
        if image is None:
            return
        for name in image.references:
            frame = streams_pb2.Image(reference=familiar(name), id=image.id, sizeBytes=image.size)
            await outgoing.put(Frame(image=frame))
        self._arrived()

    async def _until_gone(
        self, request: Request, folder: Path, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]
    ) -> Image | None:
        """The build, unless the client goes first: then it is stopped, taken away, and there is no image."""

        async def say(text: bytes) -> None:
            for start in range(0, len(text), CHUNK):
                try:
                    async with asyncio.timeout(TAKEN_WITHIN):
                        await outgoing.put(Frame(stdout=text[start : start + CHUNK]))
                except TimeoutError:
                    raise BuildError(f"the client has not read the output for {TAKEN_WITHIN:.0f} s") from None

        building = asyncio.ensure_future(self._builds.build(request, folder, say))
        gone = asyncio.ensure_future(exhaust(incoming))
        try:
            await asyncio.wait({building, gone}, return_when=asyncio.FIRST_COMPLETED)
            return building.result() if building.done() else None
        finally:
            gone.cancel()
            building.cancel()
            # Its processes and mounts are gone before its folder is.
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await building

    async def _export(self, opening: Any, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]) -> None:
        reference, diff_id = opening.exportImage.reference, opening.exportImage.diffId
        try:
            image = self._images.find(reference)
            if not diff_id:
                await self._offer(image, outgoing)
                return
            if diff_id not in image.layers:
                raise BadRequest(f'image "{reference[:200]}" has no layer {diff_id[:80]}')
            with self._images.hold([diff_id]):
                _, chunks = await asyncio.to_thread(self._images.tar, diff_id)
                while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                    for start in range(0, len(chunk), CHUNK):
                        await outgoing.put(Frame(stdout=chunk[start : start + CHUNK]))
        except ImageNotFound:
            raise NotFound(f'image "{reference[:200]}" is not on this node') from None
        except (BuildError, BadImage) as error:
            raise BadRequest(f'image "{reference[:200]}": {error}') from None

    async def _offer(self, image: Image, outgoing: asyncio.Queue[Any]) -> None:
        config = self._builds.document(image)
        offer = streams_pb2.ImageOffer(references=image.references, config=config, diffIds=image.layers)
        await outgoing.put(Frame(imageOffer=offer))
        for diff_id in dict.fromkeys(image.layers):
            size, _ = await asyncio.to_thread(self._images.tar, diff_id)
            await outgoing.put(Frame(layerStart=streams_pb2.LayerStart(diffId=diff_id, sizeBytes=size)))


def _request(options: Any) -> Request:
    if not 1 <= len(options.tags) <= MAX_TAGS:
        raise BadRequest(f"an image needs 1 to {MAX_TAGS} names")
    try:
        for tag in options.tags:
            parse(tag)
        credentials = parse_config(options.dockerConfigJson, "given") if options.dockerConfigJson else []
    except (BadReference, BadSecret) as error:
        raise BadRequest(str(error)) from None
    if any("\0" in name + value for name, value in options.args.items()):
        raise BadRequest("a build argument has a NUL character")
    if options.runTimeoutSeconds < 0:
        raise BadRequest("runTimeoutSeconds must not be negative")
    return Request(
        dockerfile=options.dockerfile, tags=tuple(options.tags), args=dict(options.args), target=options.target,
        use_cache=not options.noCache, run_deadline=float(options.runTimeoutSeconds or RUN_TIMEOUT),
        credentials=tuple(credentials),
    )  # fmt: skip


async def _take_context(folder: Path, incoming: AsyncIterator[Any]) -> None:
    """The context's tar from the stream, unpacked into `folder`/context. Raises BadRequest, BadImage."""
    packed = folder / "context.tar"
    complete = False
    with open(os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        total = 0
        while (frame := await _piece(incoming)) is not None:
            if frame.stdinClosed:
                complete = True
                break
            total += len(frame.stdin)
            if total > MAX_CONTEXT:
                raise BadRequest(f"the context is larger than {MAX_CONTEXT >> 30} GiB: use .dockerignore")
            file.write(frame.stdin)
    if not complete:
        raise BadRequest("the context ended before it was whole")
    await asyncio.to_thread(_unpack, packed, folder / "context")


async def _piece(incoming: AsyncIterator[Any]) -> Any:
    """The next frame, None at the end."""
    try:
        async with asyncio.timeout(PIECE_WITHIN):
            return await anext(incoming, None)
    except TimeoutError:
        raise BadRequest(f"nothing of the context came for {PIECE_WITHIN:.0f} s") from None


def _unpack(packed: Path, folder: Path) -> None:
    with open(packed, "rb") as stream:
        unpack(stream, str(folder), "context")
    packed.unlink()
