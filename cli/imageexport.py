"""An image that a node has built, from that node to the others: to each the layers that it lacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, cast

from cli import nodewise
from cli.carry import raise_exit
from cli.commands import imageload
from pinnace.errors import BadRequest
from pinnace.oci.reference import normalise

if TYPE_CHECKING:
    from pinnace.oci.archive import ImageArchive


def spread(client: Any, source: str, targets: list[str], names: list[str]) -> int:
    """Send the image from the node that built it to the others; returns the exit code."""
    holders, code = [source], 0
    if targets:
        image = dataclasses.replace(exported(client, source, names[0]), references=tuple(map(normalise, names)))
        results = nodewise.everywhere(
            targets, f"taking {names[0]} to other nodes", lambda node, say: imageload.to_node(client, node, [image], say)
        )
        holders, code = sorted([source, *results.done]), results.report()
    for name in names:
        print(f"image {name} built on {source}" + (f", and now on {', '.join(holders)}" if targets else ""))
    return code


def exported(client: Any, source: str, name: str) -> ImageArchive:
    """The image as an archive whose layers are read from the node when they are needed."""
    from pinnace.api.v1 import streams_pb2
    from pinnace.oci import manifest
    from pinnace.oci.archive import ImageArchive, Layer

    offer, layers = streams_pb2.ImageOffer(), {}
    for frame in _export(client, source, name, ""):
        match frame.WhichOneof("frame"):
            case "imageOffer":
                offer = frame.imageOffer
            case "layerStart":
                diff_id = frame.layerStart.diffId
                layers[diff_id] = Layer(diff_id, frame.layerStart.sizeBytes, _opener(client, source, name, diff_id))
    config = manifest.config(offer.config, len(offer.diffIds), "the image's config")
    return ImageArchive(tuple(offer.references), offer.config, config, tuple(layers[diff_id] for diff_id in offer.diffIds))


def _export(client: Any, source: str, name: str, diff_id: str) -> Iterator[Any]:
    from pinnace.api.v1 import streams_pb2, streams_pb2_grpc

    options = streams_pb2.ExportImageOptions(reference=name, diffId=diff_id)
    stub = streams_pb2_grpc.StreamsStub(client.channel)
    for frame in client.stream(stub.ExportImage, streams_pb2.OpenStream(node=source, exportImage=options)):
        if frame.HasField("exit"):
            raise_exit(frame.exit)
            return
        yield frame
    raise BadRequest(f"the connection to node {source} ended before the image was complete")


def _opener(client: Any, source: str, name: str, diff_id: str) -> Callable[[], IO[bytes]]:
    return lambda: cast(IO[bytes], _Chunks(frame.stdout for frame in _export(client, source, name, diff_id)))


class _Chunks:
    """A readable file of chunks that come one after another."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def __enter__(self) -> _Chunks:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def read(self, size: int) -> bytes:
        self._left = self._left or next(self._chunks, b"")
        data, self._left = self._left[:size], self._left[size:]
        return data
