"""`kctl image build`: the context to one node, which builds; the image from there to all other nodes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from cli import buildcontext, flags, nodewise, output, pullsecret
from cli.carry import raise_exit
from cli.commands import imageload
from cli.sizes import size
from pinnace import kinds
from pinnace.errors import ApiError, BadRequest

if TYPE_CHECKING:
    from pinnace.oci.archive import ImageArchive

CHUNK = 64 << 10
MAX_DOCKERFILE = 256 << 10


def configure(parser: Any) -> None:
    parser.add_argument("folder", type=Path, metavar="CONTEXT", help="folder whose files COPY and ADD take")
    parser.add_argument("-f", "--file", type=Path, default=None, help="the Dockerfile (default: CONTEXT/Dockerfile)")
    parser.add_argument("-t", "--tag", action="append", default=[], required=True, help="name of the image (may be repeated)")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", help="value of an ARG")
    parser.add_argument("--target", default="", help="stop at this stage")
    parser.add_argument("--no-cache", action="store_true", help="run every step again")
    parser.add_argument("--run-timeout", type=_seconds, default=0, help="how long each RUN may take (default: 1h)")
    pullsecret.add_flag(parser)
    parser.add_argument("--node", default="", help="build on this node (default: the first that is Ready)")


def _seconds(text: str) -> int:
    value = flags.seconds(text)
    if not 1 <= value <= 7 * 86400:
        raise argparse.ArgumentTypeError(f'"{text}" is not between 1s and 168h')
    return int(value)


def run(args: Any) -> int:
    """Raises BadRequest, ApiError of a build that fails."""
    dockerfile = args.file or args.folder / "Dockerfile"
    options = _options(args, dockerfile)
    if not args.folder.is_dir():
        raise BadRequest(f"the context {args.folder} is not a folder")
    ignore = buildcontext.read_ignore(args.folder, dockerfile)
    client = flags.client(args)
    options.dockerConfigJson = pullsecret.read(client, args.secret)
    ready = _ready(client)
    node = args.node or next(iter(ready), "")
    if not node:
        raise BadRequest("no node is Ready to build")
    try:
        names = _build(client, node, options, _shown(buildcontext.pack(args.folder, ignore), node))
    except ApiError as error:
        # The node does not know what the file is called here.
        raise type(error)(error.message.replace("Dockerfile:", f"{dockerfile}:", 1)) from None
    return _spread(client, node, [other for other in ready if other != node], names)


def _options(args: Any, dockerfile: Path) -> Any:
    from pinnace.api.v1 import streams_pb2

    given = {}
    for word in args.build_arg:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise BadRequest(f"--build-arg {word}: write NAME=VALUE")
        given[name] = value
    try:
        with open(dockerfile, "rb") as file:
            text = file.read(MAX_DOCKERFILE + 1).decode()
    except OSError as error:
        raise BadRequest(f"{dockerfile}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadRequest(f"{dockerfile} is not text in UTF-8") from None
    if len(text) > MAX_DOCKERFILE:
        raise BadRequest(f"{dockerfile} is larger than {MAX_DOCKERFILE >> 10} KiB")
    return streams_pb2.BuildImageOptions(
        dockerfile=text, tags=args.tag, args=given, target=args.target, noCache=args.no_cache,
        runTimeoutSeconds=args.run_timeout,
    )  # fmt: skip


def _ready(client: Any) -> list[str]:
    """Names of the nodes that are Ready."""
    found = []
    for node in client.list(kinds.NODE, ""):
        if any(item.type == "Ready" and item.status == "True" for item in node.status.conditions):
            found.append(node.metadata.name)
    return sorted(found)


class _Feeding:
    """Frames for a call; a failure while they are made is kept, for gRPC would hide it."""

    def __init__(self, opening: Any, chunks: Iterator[bytes]) -> None:
        self._opening = opening
        self._chunks = chunks
        self.failure: ApiError | None = None

    def __iter__(self) -> Iterator[Any]:
        from pinnace.api.v1 import streams_pb2

        yield streams_pb2.Frame(open=self._opening)
        try:
            for chunk in _gathered(self._chunks):
                yield streams_pb2.Frame(stdin=chunk)
        except ApiError as error:
            self.failure = error
            raise
        yield streams_pb2.Frame(stdinClosed=True)

    def answers(self, client: Any, method: Any) -> Iterator[Any]:
        """The frames that come back. Raises ApiError, our own before that of the call it broke."""
        try:
            yield from client.stream(method, iter(self))
        except ApiError:
            if self.failure is not None:
                raise self.failure from None
            raise


def _shown(chunks: Iterator[bytes], node: str) -> Iterator[bytes]:
    """The context, its progress on the terminal."""
    progress, sent = output.Progress(), 0
    try:
        for chunk in chunks:
            yield chunk
            sent += len(chunk)
            progress.show(f"sending the context to {node}: {size(sent)}")
    finally:
        progress.clear()


def _gathered(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Small chunks together, so that a header of a tar is no frame of its own."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= CHUNK:
            yield bytes(buffer[:CHUNK])
            del buffer[:CHUNK]
    if buffer:
        yield bytes(buffer)


def _build(client: Any, node: str, options: Any, context: Iterator[bytes]) -> list[str]:
    """Build on a node, its output to ours. Returns the names of the image."""
    from pinnace.api.v1 import streams_pb2, streams_pb2_grpc

    stub = streams_pb2_grpc.StreamsStub(client.channel)
    feeding = _Feeding(streams_pb2.OpenStream(node=node, buildImage=options), context)
    names: list[str] = []
    for frame in feeding.answers(client, stub.BuildImage):
        kind = frame.WhichOneof("frame")
        if kind == "stdout":
            sys.stdout.buffer.write(frame.stdout)
            sys.stdout.buffer.flush()
        elif kind == "image":
            names.append(frame.image.reference)
        elif kind == "exit":
            raise_exit(frame.exit)
            return names
    raise BadRequest(f"the connection to node {node} ended before the build did")


def _spread(client: Any, source: str, targets: list[str], names: list[str]) -> int:
    """The image from the node that built it to the others, to each the layers that it lacks; returns the exit code."""
    holders, code = [source], 0
    if targets:
        image = _exported(client, source, names[0])
        results = nodewise.everywhere(
            targets, f"taking {names[0]} to other nodes", lambda node, say: imageload.to_node(client, node, [image], say)
        )
        holders, code = sorted([source, *results.done]), results.report()
    for name in names:
        print(f"image {name} built on {source}" + (f", and now on {', '.join(holders)}" if targets else ""))
    return code


def _exported(client: Any, source: str, name: str) -> ImageArchive:
    """The image as an archive whose layers are read from the node when they are wanted."""
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
    raise BadRequest(f"the connection to node {source} ended before the image was whole")


def _opener(client: Any, source: str, name: str, diff_id: str) -> Callable[[], IO[bytes]]:
    return lambda: cast(IO[bytes], _Chunks(frame.stdout for frame in _export(client, source, name, diff_id)))


class _Chunks:
    """A file to read from, of chunks that come one after another."""

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
