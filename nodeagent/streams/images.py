"""Streams about the images of the node: what is there, bringing, pulling and removing them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from nodeagent.images.gc import ImageGc
from nodeagent.images.progress import PERSON
from nodeagent.images.puller import Puller, PullError
from nodeagent.images.pusher import MAX_TARGETS, PushError
from nodeagent.images.registry.credentials import BadSecret, parse_config
from nodeagent.images.store import Image, ImageNotFound, ImageStore
from nodeagent.streams.frames import Frame, Handler
from pinnace.api.v1 import streams_pb2
from pinnace.errors import BadRequest, Conflict, NotFound, Unavailable
from pinnace.oci import BadImage, manifest
from pinnace.oci.archive import Layer
from pinnace.oci.reference import BadReference, Reference, familiar, parse

Queue = asyncio.Queue[Any]


class ImageStreams:
    def __init__(
        self, images: ImageStore, puller: Puller, gc: ImageGc, *, arrived: Callable[[], None],
        users: Callable[[], dict[str, str]],
    ) -> None:  # fmt: skip
        """`arrived` is called when there is a new image, for pods that wait for it; `users` says who uses an
        image, by id."""
        self._images = images
        self._puller = puller
        self._pusher = puller.pusher()
        self._gc = gc
        self._arrived = arrived
        self._users = users

    def handlers(self) -> dict[str, Handler]:
        return {
            "loadImage": self._load, "listImages": self._list, "pullImage": self._pull, "removeImage": self._remove,
            "pruneImages": self._prune, "tagImage": self._tag, "pushImage": self._push,
        }  # fmt: skip

    async def _list(self, opening: Any, incoming: AsyncIterator[Any], outgoing: Queue) -> None:
        users = self._users()
        for image in self._images.all():
            for frame in _image_frames(image, users.get(image.id, "")):
                await outgoing.put(frame)

    # Loading

    async def _load(self, opening: Any, incoming: AsyncIterator[Any], outgoing: Queue) -> None:
        try:
            async for frame in incoming:
                match frame.WhichOneof("frame"):
                    case "imageOffer":
                        await self._take(frame.imageOffer, incoming, outgoing)
                    case "stdinClosed":
                        return
                    case other:
                        raise BadRequest(f"an image offer was to come, not {other}")
        except (BadImage, BadReference) as error:
            raise BadRequest(f"not a usable image: {error}") from None
        finally:
            # Of an image that did not come whole some layers are here.
            await self._images.sweep()

    async def _take(self, offer: Any, incoming: AsyncIterator[Any], outgoing: Queue) -> None:
        references = [str(parse(reference)) for reference in offer.references]
        config = manifest.config(offer.config, len(offer.diffIds), "the image's config")
        if not references or list(config.diff_ids) != list(offer.diffIds):
            raise BadRequest("the offer has no name, or other layers than its config")
        with self._images.hold(config.diff_ids):
            wanted = self._images.lacking(config.diff_ids)
            await outgoing.put(Frame(layersWanted=streams_pb2.LayersWanted(diffIds=wanted)))
            for diff_id in wanted:
                await self._receive(diff_id, incoming)
            image = await self._images.keep(config, references, loaded=True)
        for frame in _image_frames(image):
            await outgoing.put(frame)
        self._arrived()

    async def _receive(self, diff_id: str, incoming: AsyncIterator[Any]) -> None:
        """One layer, through a file: unpacking may be slower than the network, and is begun when all of it is here."""
        frame = await anext(incoming, None)
        if frame is None or frame.WhichOneof("frame") != "layerStart" or frame.layerStart.diffId != diff_id:
            raise BadRequest(f"layer {diff_id[:19]} was to come")
        size = frame.layerStart.sizeBytes
        if not 0 <= size <= manifest.MAX_LAYER_BYTES:
            raise BadImage(f"layer {diff_id[:19]} is larger than {manifest.MAX_LAYER_BYTES >> 30} GiB")
        descriptor, name = tempfile.mkstemp(dir=self._images.incoming)
        path = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                while file.tell() < size:
                    frame = await anext(incoming, None)
                    if frame is None or frame.WhichOneof("frame") != "stdin":
                        raise BadRequest(f"layer {diff_id[:19]} ended at {file.tell()} of {size} bytes")
                    file.write(frame.stdin)
            await self._images.add_layer(Layer(diff_id, size, lambda: open(path, "rb")))
        finally:
            path.unlink(missing_ok=True)

    # From registries

    async def _pull(self, opening: Any, incoming: AsyncIterator[Any], outgoing: Queue) -> None:
        options = opening.pullImage

        def say(reason: str, message: str) -> None:
            # Progress that finds no room is out of date.
            with contextlib.suppress(asyncio.QueueFull):
                outgoing.put_nowait(Frame(progress=message))

        try:
            credentials = parse_config(options.dockerConfigJson, "given") if options.dockerConfigJson else []
            image = await self._puller.pull(options.reference, credentials, say, pacing=PERSON)
        except BadSecret as error:
            raise BadRequest(str(error)) from None
        except PullError as error:
            raise (Unavailable if error.reason == "RegistryUnavailable" else BadRequest)(error.message) from None
        for frame in _image_frames(image):
            await outgoing.put(frame)
        self._arrived()

    # Names, and to registries

    def _find(self, reference: str) -> Image:
        """Raises NotFound."""
        try:
            return self._images.find(reference)
        except ImageNotFound:
            raise NotFound(f'image "{reference[:200]}" is not on this node') from None

    async def _tag(self, opening: Any, incoming: AsyncIterator[Any], outgoing: Queue) -> None:
        options = opening.tagImage
        self._find(options.reference)
        name = _name(options.target)
        image = self._images.tag(options.reference, str(name))
        await outgoing.put(Frame(image=streams_pb2.Image(reference=familiar(str(name)), id=image.id, sizeBytes=image.size)))
        self._arrived()

    async def _push(self, opening: Any, incoming: AsyncIterator[Any], outgoing: Queue) -> None:
        options = opening.pushImage
        if not 1 <= len(options.targets) <= MAX_TARGETS:
            raise BadRequest(f"a push has 1 to {MAX_TARGETS} targets, not {len(options.targets)}")
        image, names = self._find(options.reference), [_name(target) for target in options.targets]

        def say(text: str) -> None:
            with contextlib.suppress(asyncio.QueueFull):
                outgoing.put_nowait(Frame(progress=text))

        try:
            credentials = parse_config(options.dockerConfigJson, "given") if options.dockerConfigJson else []
            digest = await self._pusher.push(image, names, credentials, say)
        except BadSecret as error:
            raise BadRequest(str(error)) from None
        except PushError as error:
            raise BadRequest(f'pushing image "{options.reference[:200]}": {error}') from None
        for name in names:
            pushed = streams_pb2.Image(reference=familiar(str(name)), id=image.id, sizeBytes=image.size, digest=digest)
            await outgoing.put(Frame(image=pushed))

    # Removing

    async def _remove(self, opening: Any, incoming: AsyncIterator[Any], outgoing: Queue) -> None:
        reference = opening.removeImage.reference
        try:
            image = self._images.find(reference)
        except ImageNotFound:
            raise NotFound(f'image "{reference}" is not on this node') from None
        if (user := self._users().get(image.id)) is not None:
            raise Conflict(f'image "{reference}" is in use by {user}')
        self._images.untag(reference)
        freed = await self._images.sweep()
        await outgoing.put(Frame(image=streams_pb2.Image(reference=familiar(reference), id=image.id, sizeBytes=image.size)))
        await outgoing.put(Frame(freedBytes=freed))

    async def _prune(self, opening: Any, incoming: AsyncIterator[Any], outgoing: Queue) -> None:
        removed, freed = await self._gc.prune(everything=opening.pruneImages.all)
        for image in removed:
            for frame in _image_frames(image):
                await outgoing.put(frame)
        await outgoing.put(Frame(freedBytes=freed))


def _name(text: str) -> Reference:
    """A name with a tag. Raises BadRequest."""
    try:
        found = parse(text)
    except BadReference as error:
        raise BadRequest(str(error)) from None
    if found.digest:
        raise BadRequest(f'"{text[:200]}" names an image by digest: give it a tag')
    return found


def _image_frames(image: Image, user: str = "") -> list[Any]:
    return [
        Frame(image=streams_pb2.Image(
            reference=familiar(name), id=image.id, sizeBytes=image.size, user=user, loaded=name in image.loaded
        ))
        for name in image.references or ("<none>",)
    ]  # fmt: skip
