"""`kctl image`: images to nodes, and what is there."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cli import flags, output, tables
from cli.commands.logs import raise_exit
from pinnace import kinds
from pinnace.errors import ApiError, BadRequest

CHUNK = 64 << 10


def run(arguments: list[str]) -> int:
    parser = flags.Parser("image", "Images on nodes: load ARCHIVE, list")
    verbs = parser.verbs()
    load = verbs.add_parser("load", help="OCI layout, docker archive, or a root filesystem, as tar or folder, to every node")
    load.add_argument("path", type=Path)
    load.add_argument("--name", default="", help="name of the image; needed for a root filesystem")
    load.add_argument("--node", action="append", default=[], help="only to this node (may be repeated)")
    show = verbs.add_parser("list", help="images of every node")
    show.add_argument("--node", action="append", default=[])
    args = parser.parse_args(arguments)
    client = flags.client(args)
    nodes = args.node or [node.metadata.name for node in client.list(kinds.NODE, "")]
    if not nodes:
        raise BadRequest("the cluster has no node")
    return _load(client, nodes, args) if args.verb == "load" else _list(client, nodes)


def _list(client: Any, nodes: list[str]) -> int:
    from pinnace.api.v1 import streams_pb2, streams_pb2_grpc

    stub = streams_pb2_grpc.StreamsStub(client.channel)
    found: dict[tuple[str, str], tuple[int, list[str]]] = {}
    for node in nodes:
        opening = streams_pb2.OpenStream(node=node, listImages=streams_pb2.ListImagesOptions())
        for frame in client.stream(stub.ListImages, opening):
            if frame.HasField("image"):
                image = frame.image
                found.setdefault((image.reference, image.id), (image.sizeBytes, []))[1].append(node)
            elif frame.HasField("exit"):
                raise_exit(frame.exit)
    rows = [["IMAGE", "ID", "SIZE", "NODES"]]
    for (reference, id_), (size, holders) in sorted(found.items()):
        rows.append([reference, id_.removeprefix("sha256:")[:12], _size(size), ",".join(sorted(holders))])
    print(tables.render(rows))
    return 0


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}GB"


def _load(client: Any, nodes: list[str], args: Any) -> int:
    if not args.path.exists():
        raise BadRequest(f"{args.path} does not exist")
    results: dict[str, list[str] | ApiError] = {}
    threads = [threading.Thread(target=_load_one, args=(client, node, args, results)) for node in nodes]
    for thread in threads:
        thread.start()
    progress = output.Progress()
    while any(thread.is_alive() for thread in threads):
        progress.show(f"loading {args.path.name}: {len(results)} of {len(nodes)} nodes done")
        threads[len(results) % len(threads)].join(0.1)
    progress.clear()
    failed = 0
    names: dict[str, list[str]] = {}
    for node, result in sorted(results.items()):
        if isinstance(result, ApiError):
            failed += 1
            print(f"error: node {node}: {result.message}", file=sys.stderr)
        else:
            for name in result:
                names.setdefault(name, []).append(node)
    for name, holders in sorted(names.items()):
        print(f"image {name} loaded on {', '.join(holders)}")
    return 1 if failed else 0


def _load_one(client: Any, node: str, args: Any, results: dict[str, list[str] | ApiError]) -> None:
    from pinnace.api.v1 import streams_pb2, streams_pb2_grpc

    opening = streams_pb2.OpenStream(node=node, loadImage=streams_pb2.LoadImageOptions(reference=args.name))

    def frames() -> Iterator[Any]:
        yield streams_pb2.Frame(open=opening)
        for chunk in _content(args.path):
            yield streams_pb2.Frame(stdin=chunk)
        yield streams_pb2.Frame(stdinClosed=True)

    try:
        names = []
        stub = streams_pb2_grpc.StreamsStub(client.channel)
        for frame in client.stream(stub.LoadImage, frames()):
            if frame.HasField("image"):
                names.append(frame.image.reference)
            elif frame.HasField("exit"):
                raise_exit(frame.exit)
        results[node] = names
    except ApiError as error:
        results[node] = error


def _content(path: Path) -> Iterator[bytes]:
    """The bytes of an archive; a folder is put into a tar on the way."""
    if not path.is_dir():
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
        return
    import tarfile

    read, write = os.pipe()

    def pack() -> None:
        with os.fdopen(write, "wb") as sink, tarfile.open(fileobj=sink, mode="w|") as tar:
            tar.add(path, arcname=".")

    packer = threading.Thread(target=pack, daemon=True)
    packer.start()
    with os.fdopen(read, "rb") as source:
        while chunk := source.read(CHUNK):
            yield chunk
    packer.join()
