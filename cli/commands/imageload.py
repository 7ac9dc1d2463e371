"""`kctl image load`: an archive of this machine to nodes, to all at once, and to each only the layers that it lacks."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import flags, nodewise
from cli.carry import raise_exit
from cli.progress import Say
from cli.sizes import size
from pinnace.errors import BadRequest

if TYPE_CHECKING:
    from pinnace.oci.archive import ImageArchive

CHUNK = 64 << 10
# Seconds that a node may take to answer an offer; it may be unpacking what came before.
ANSWER_WITHIN = 600.0


@dataclass(slots=True)
class Loaded:
    """What came to one node: names of images, layers and bytes sent."""

    names: list[str] = field(default_factory=list)
    layers: int = 0
    sent: int = 0


def configure(parser: Any) -> None:
    parser.add_argument("path", type=Path, help="tar archive or directory")
    parser.add_argument("--name", default="", help="name of the image; needed for a root filesystem")
    nodewise.add_flag(parser)


def run(args: Any) -> int:
    """Raises BadRequest for an archive that is none."""
    from pinnace.oci import BadImage
    from pinnace.oci.archive import Archive
    from pinnace.oci.reference import BadReference, parse

    if not args.path.exists():
        raise BadRequest(f"{args.path} does not exist")
    try:
        archive = Archive(args.path)
        try:
            images = archive.images(args.name)
            for image in images:
                for reference in image.references:
                    parse(reference)
            return _load(flags.client(args), images, args)
        finally:
            archive.close()
    except (BadImage, BadReference) as error:
        raise BadRequest(f"{args.path}: not a usable image: {error}") from None


def _load(client: Any, images: list[ImageArchive], args: Any) -> int:
    nodes = nodewise.names(client, args.node)
    results = nodewise.everywhere(
        nodes, f"loading {args.path.name}", lambda node, say: to_node(client, node, images, say)
    )  # fmt: skip
    layers, sent = (sum(getattr(item, name) for item in results.done.values()) for name in ("layers", "sent"))
    for name, holders in results.holders(lambda item: item.names):
        print(f"image {name} loaded on {', '.join(holders)}")
    if results.done:
        print(f"sent {layers} layers, {size(sent)}" if layers else "every layer was there already")
    return results.report()


def to_node(client: Any, node: str, images: list[ImageArchive], say: Say) -> Loaded:
    from pinnace.api.v1 import streams_pb2_grpc

    loaded = Loaded()
    # Whoever reads the node's frames passes its answers on to the frames that gRPC takes in a thread of its own.
    answers: queue.SimpleQueue[list[str] | None] = queue.SimpleQueue()
    stub = streams_pb2_grpc.StreamsStub(client.channel)
    try:
        for frame in client.stream(stub.LoadImage, _frames(node, images, answers, loaded, say)):
            match frame.WhichOneof("frame"):
                case "layersWanted":
                    answers.put(list(frame.layersWanted.diffIds))
                case "image":
                    loaded.names.append(frame.image.reference)
                case "exit":
                    raise_exit(frame.exit)
    finally:
        answers.put(None)
    return loaded


def _frames(
    node: str, images: list[ImageArchive], answers: queue.SimpleQueue[list[str] | None], loaded: Loaded, say: Say
) -> Iterator[Any]:
    from pinnace.api.v1 import streams_pb2

    yield streams_pb2.Frame(open=streams_pb2.OpenStream(node=node, loadImage=streams_pb2.LoadImageOptions()))
    for image in images:
        diff_ids = [layer.diff_id for layer in image.layers]
        offer = streams_pb2.ImageOffer(references=image.references, config=image.document, diffIds=diff_ids)
        yield streams_pb2.Frame(imageOffer=offer)
        try:
            wanted = answers.get(timeout=ANSWER_WITHIN)
        except queue.Empty:
            wanted = None
        if wanted is None:
            return
        yield from _layers(image, wanted, loaded, say)
    yield streams_pb2.Frame(stdinClosed=True)


def _layers(image: ImageArchive, wanted: list[str], loaded: Loaded, say: Say) -> Iterator[Any]:
    from pinnace.api.v1 import streams_pb2

    layers = {layer.diff_id: layer for layer in image.layers}
    total = sum(layers[diff_id].size for diff_id in wanted)
    before = loaded.sent
    for diff_id in wanted:
        layer = layers[diff_id]
        yield streams_pb2.Frame(layerStart=streams_pb2.LayerStart(diffId=diff_id, sizeBytes=layer.size))
        with layer.open() as file:
            while chunk := file.read(CHUNK):
                yield streams_pb2.Frame(stdin=chunk)
                loaded.sent += len(chunk)
                say(f"{size(loaded.sent - before)} of {size(total)}")
        loaded.layers += 1
