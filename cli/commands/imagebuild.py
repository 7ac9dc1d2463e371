"""`kctl image build`: send the context to one node, which builds, and the image from there to all other nodes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from cli import buildcontext, buildsecrets, flags, imageexport, pullsecret
from cli.carry import raise_exit
from cli.progress import Progress
from cli.sizes import size
from pinnace import dockerunits, kinds, quantity
from pinnace.errors import ApiError, BadRequest

CHUNK = 64 << 10
MAX_DOCKERFILE = 256 << 10


def configure(parser: Any) -> None:
    parser.add_argument(
        "directory", type=Path, metavar="CONTEXT",
        help="directory whose files COPY and ADD take; -: none, with the Dockerfile on standard input",
    )  # fmt: skip
    parser.add_argument(
        "-f", "--file", type=Path, default=None, help="the Dockerfile, - for standard input (default: CONTEXT/Dockerfile)"
    )
    parser.add_argument("-t", "--tag", action="append", default=[], required=True, help="name of the image (may be repeated)")
    parser.add_argument(
        "--build-arg", action="append", default=[], metavar="NAME[=VALUE]",
        help="value of an ARG, by default that of kctl's own environment (may be repeated)",
    )  # fmt: skip
    parser.add_argument(
        "--label", action="append", default=[], metavar="NAME=VALUE", help="label of the image (may be repeated)"
    )
    parser.add_argument("--target", default="", help="build only this stage and those it needs")
    parser.add_argument("--no-cache", action="store_true", help="run every step again")
    parser.add_argument("--pull", action="store_true", help="take base images from their registries even if the node has them")
    parser.add_argument("--run-timeout", type=_seconds, default=0, help="maximum duration of each RUN (default: 1h)")
    parser.add_argument("--memory", type=_memory, default=0, help="memory limit of each RUN (default: half of the node's)")
    parser.add_argument("--cpus", type=_cpus, default=0, help="CPU limit of each RUN, such as 1.5 (default: the node's CPUs)")
    parser.add_argument(
        "--secret", action="append", default=[], metavar="id=ID[,src=FILE|,env=VARIABLE]",
        help="secret for RUN --mount=type=secret (may be repeated); a plain NAME is a pull secret for base images",
    )  # fmt: skip
    parser.add_argument("--node", default="", help="build on this node (default: the first that is Ready)")


def _seconds(text: str) -> int:
    value = flags.seconds(text)
    if not 1 <= value <= 7 * 86400:
        raise argparse.ArgumentTypeError(f'"{text}" is not between 1s and 168h')
    return int(value)


def _memory(text: str) -> int:
    try:
        value = dockerunits.ram_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not 6 << 20 <= value <= 1 << 50:
        raise argparse.ArgumentTypeError(f'"{text}" is not between 6m and 1024t')
    return value


def _cpus(text: str) -> int:
    """Millicores."""
    try:
        value = quantity.milli(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not 10 <= value <= 1_000_000:
        raise argparse.ArgumentTypeError(f'"{text}" is not between 0.01 and 1000')
    return value


def run(args: Any) -> int:
    """Raises BadRequest, ApiError of a build that fails."""
    dockerfile = _dockerfile(args)
    name = "-" if dockerfile is None else str(dockerfile)
    options = _options(args, _text(dockerfile))
    pull_secrets = buildsecrets.read(args.secret, options.secrets)
    context = _context(args.directory, dockerfile)
    client = flags.client(args)
    options.dockerConfigJson = pullsecret.read(client, pull_secrets)
    ready = _ready(client)
    node = args.node or next(iter(ready), "")
    if not node:
        raise BadRequest("no node is Ready to build")
    try:
        names = _build(client, node, options, _shown(context, node))
    except ApiError as error:
        # The node does not know the file's name here.
        raise type(error)(error.message.replace("Dockerfile:", f"{name}:", 1)) from None
    return imageexport.spread(client, node, [other for other in ready if other != node], names)


def _dockerfile(args: Any) -> Path | None:
    """None: it is on standard input."""
    if str(args.directory) == "-" or str(args.file) == "-":
        if args.file is not None and str(args.file) != "-":
            raise BadRequest("CONTEXT - has the Dockerfile on standard input: leave out --file")
        return None
    return cast(Path, args.file or args.directory / "Dockerfile")


def _text(dockerfile: Path | None) -> str:
    name = dockerfile or "standard input"
    try:
        if dockerfile is None:
            data = sys.stdin.buffer.read(MAX_DOCKERFILE + 1)
        else:
            with open(dockerfile, "rb") as file:
                data = file.read(MAX_DOCKERFILE + 1)
    except OSError as error:
        raise BadRequest(f"{name}: {error.strerror}") from None
    if len(data) > MAX_DOCKERFILE:
        raise BadRequest(f"{name} is larger than {MAX_DOCKERFILE >> 10} KiB (a context is a directory, not an archive)")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadRequest(f"{name} is not text in UTF-8 (a context is a directory, not an archive)") from None


def _context(path: Path, dockerfile: Path | None) -> Iterator[bytes]:
    """The context's tar. Raises BadRequest."""
    if str(path) == "-":
        return buildcontext.empty()
    if not path.is_dir():
        raise BadRequest(f"the context {path} is not a directory")
    return buildcontext.pack(path, buildcontext.read_ignore(path, dockerfile))


def _options(args: Any, text: str) -> Any:
    from pinnace.api.v1 import streams_pb2

    return streams_pb2.BuildImageOptions(
        dockerfile=text, tags=args.tag, args=_pairs(args.build_arg, "--build-arg", os.environ), target=args.target,
        noCache=args.no_cache, pull=args.pull, labels=_pairs(args.label, "--label", {}),
        runTimeoutSeconds=args.run_timeout, memoryBytes=args.memory, cpuMillis=args.cpus,
    )  # fmt: skip


def _pairs(words: list[str], flag: str, environment: Mapping[str, str]) -> dict[str, str]:
    """A name without a value has that of the environment, and is left out if it is not there."""
    given = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not (equals or flag == "--build-arg"):
            raise BadRequest(f"{flag} {word}: expected NAME=VALUE")
        if equals or name in environment:
            given[name] = value if equals else environment[name]
    return given


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
    progress, sent = Progress(), 0
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
