"""Streams that build images on this node, and that export a built one to the other nodes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from nodeagent.building import limits
from nodeagent.building.builder import Request, plan
from nodeagent.building.builds import Builds
from nodeagent.building.errors import BuildError
from nodeagent.building.limits import RunLimits
from nodeagent.images.registry.credentials import BadSecret, parse_config
from nodeagent.images.store import Image, ImageNotFound, ImageStore
from nodeagent.node import threads
from nodeagent.streams.frames import CHUNK, Frame, Handler, exhaust
from pinnace.api.v1 import streams_pb2
from pinnace.errors import BadRequest, Internal, NotFound
from pinnace.oci import BadImage
from pinnace.oci.reference import BadReference, familiar, normalise, parse

MAX_CONTEXT = 4 << 30
# Seconds: for the next piece of a context, and for the client to take a line of output (it may be a pager's).
PIECE_WITHIN = 120.0
TAKEN_WITHIN = 3600.0
MAX_TAGS = 32
MAX_SECRETS, MAX_SECRET = 64, 500 << 10
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
            async with self._builds.directory() as directory:
                await _take_context(directory, incoming, self._images)
                image = await self._until_gone(request, directory, incoming, outgoing)
        except (BuildError, BadImage) as error:
            raise BadRequest(str(error)) from None
        except OSError as error:
            raise Internal(f"the build failed on this node: {error.strerror or error}") from error
        if image is None:
            return
        # Not the names that an equal image has had before.
        for name in dict.fromkeys(map(normalise, request.tags)):
            frame = streams_pb2.Image(reference=familiar(name), id=image.id, sizeBytes=image.size)
            await outgoing.put(Frame(image=frame))
        self._arrived()

    async def _until_gone(
        self, request: Request, directory: Path, incoming: AsyncIterator[Any], outgoing: asyncio.Queue[Any]
    ) -> Image | None:
        """The build, unless the client ends first: then it is stopped and removed, and there is no image."""

        async def say(text: bytes) -> None:
            for start in range(0, len(text), CHUNK):
                try:
                    async with asyncio.timeout(TAKEN_WITHIN):
                        await outgoing.put(Frame(stdout=text[start : start + CHUNK]))
                except TimeoutError:
                    raise BuildError(f"the client has not read the output for {TAKEN_WITHIN:.0f} s") from None

        building = asyncio.ensure_future(self._builds.build(request, directory, say))
        gone = asyncio.ensure_future(exhaust(incoming))
        try:
            await asyncio.wait({building, gone}, return_when=asyncio.FIRST_COMPLETED)
            return building.result() if building.done() else None
        finally:
            gone.cancel()
            building.cancel()
            # Its processes and mounts end before its directory is removed.
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
                _, chunks = await threads.images.run(self._images.tar, diff_id)
                while (chunk := await threads.images.run(next, chunks, None)) is not None:
                    for start in range(0, len(chunk), CHUNK):
                        await outgoing.put(Frame(stdout=chunk[start : start + CHUNK]))
        except ImageNotFound:
            raise NotFound(f'image "{reference[:200]}" is not on this node') from None
        except (BuildError, BadImage) as error:
            raise BadRequest(f'image "{reference[:200]}": {error}') from None

    async def _offer(self, image: Image, outgoing: asyncio.Queue[Any]) -> None:
        try:
            config = self._images.document(image)
        except BadImage:
            # Built before the store kept configs.
            config = self._builds.document(image)
        offer = streams_pb2.ImageOffer(references=image.references, config=config, diffIds=image.layers)
        await outgoing.put(Frame(imageOffer=offer))
        for diff_id in dict.fromkeys(image.layers):
            size, _ = await threads.images.run(self._images.tar, diff_id)
            await outgoing.put(Frame(layerStart=streams_pb2.LayerStart(diffId=diff_id, sizeBytes=size)))


def _request(options: Any) -> Request:
    """Raises BadRequest."""
    if not 1 <= len(options.tags) <= MAX_TAGS:
        raise BadRequest(f"an image needs 1 to {MAX_TAGS} names")
    try:
        for tag in options.tags:
            parse(tag)
        credentials = parse_config(options.dockerConfigJson, "given") if options.dockerConfigJson else []
    except (BadReference, BadSecret) as error:
        raise BadRequest(str(error)) from None
    if any("\0" in name + value for pairs in (options.args, options.labels) for name, value in pairs.items()):
        raise BadRequest("a build argument or label has a NUL character")
    return Request(
        dockerfile=options.dockerfile, tags=tuple(options.tags), args=dict(options.args), target=options.target,
        use_cache=not options.noCache, pull=options.pull, labels=dict(options.labels), secrets=_secrets(options.secrets),
        limits=_limits(options), credentials=tuple(credentials),
    )  # fmt: skip


def _secrets(given: Mapping[str, bytes]) -> dict[str, bytes]:
    if len(given) > MAX_SECRETS or any(len(value) > MAX_SECRET for value in given.values()):
        raise BadRequest(f"more than {MAX_SECRETS} secrets, or one of more than {MAX_SECRET >> 10} KiB")
    return dict(given)


def _limits(options: Any) -> RunLimits:
    memory, cpu, deadline = options.memoryBytes, options.cpuMillis, options.runTimeoutSeconds
    if deadline < 0:
        raise BadRequest("runTimeoutSeconds must not be negative")
    if memory and not limits.MIN_MEMORY <= memory <= limits.MAX_MEMORY:
        raise BadRequest(f"memoryBytes must be between {limits.MIN_MEMORY} and {limits.MAX_MEMORY}")
    if cpu and not limits.MIN_CPU <= cpu <= limits.MAX_CPU:
        raise BadRequest(f"cpuMillis must be between {limits.MIN_CPU} and {limits.MAX_CPU}")
    return RunLimits(memory, cpu, float(deadline or RUN_TIMEOUT))


async def _take_context(directory: Path, incoming: AsyncIterator[Any], images: ImageStore) -> None:
    """The context's tar from the stream, unpacked into `directory`/context. Raises BadRequest, BadImage."""
    packed = directory / "context.tar"
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
    await images.unpack_archive(packed, directory / "context", "context")
    packed.unlink()


async def _piece(incoming: AsyncIterator[Any]) -> Any:
    """The next frame, None at the end."""
    try:
        async with asyncio.timeout(PIECE_WITHIN):
            return await anext(incoming, None)
    except TimeoutError:
        raise BadRequest(f"nothing of the context came for {PIECE_WITHIN:.0f} s") from None
