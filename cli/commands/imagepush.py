"""`kctl image push` and `kctl image tag`: from a node that has an image to registries; a further name on every node."""

from __future__ import annotations

import os
from typing import Any

from cli import dockerconfig, flags, nodewise, pullsecret
from cli.carry import raise_exit
from cli.progress import Progress, Say
from pinnace.errors import NotFound


def configure_push(parser: Any) -> None:
    parser.add_argument("name", help="name or id of an image on a node")
    parser.add_argument("reference", nargs="*", help="names in registries, of any repositories (default: NAME)")
    nodewise.add_flag(parser)
    pullsecret.add_flag(parser)


def configure_tag(parser: Any) -> None:
    parser.add_argument("name", help="name or id of an image on a node")
    parser.add_argument("target", help="name to add")
    nodewise.add_flag(parser)


def push(args: Any) -> int:
    """From the first node that has the image. Raises NotFound, ApiError of the push."""
    from pinnace.api.v1 import streams_pb2, streams_pb2_grpc

    client = flags.client(args)
    targets = args.reference or [args.name]
    config = pullsecret.read(client, args.secret) or dockerconfig.for_images(targets, os.environ)
    options = streams_pb2.PushImageOptions(reference=args.name, targets=targets, dockerConfigJson=config)
    stub = streams_pb2_grpc.StreamsStub(client.channel)
    progress = Progress()
    for node in nodewise.names(client, args.node):
        try:
            for frame in client.stream(stub.PushImage, streams_pb2.OpenStream(node=node, pushImage=options)):
                match frame.WhichOneof("frame"):
                    case "progress":
                        progress.show(f"pushing from {node}: {frame.progress}")
                    case "image":
                        progress.clear()
                        print(f"image {frame.image.reference} pushed from {node}, digest {frame.image.digest}")
                    case "exit":
                        raise_exit(frame.exit)
            return 0
        except NotFound:
            continue
        finally:
            progress.clear()
    raise NotFound(f'image "{args.name}" is on no node')


def tag(args: Any) -> int:
    """On every node that has the image. Raises NotFound when none has."""
    from pinnace.api.v1 import streams_pb2, streams_pb2_grpc

    client = flags.client(args)
    stub = streams_pb2_grpc.StreamsStub(client.channel)
    options = streams_pb2.TagImageOptions(reference=args.name, target=args.target)

    def one(node: str, say: Say) -> list[str]:
        names = []
        for frame in client.stream(stub.TagImage, streams_pb2.OpenStream(node=node, tagImage=options)):
            if frame.WhichOneof("frame") == "exit":
                raise_exit(frame.exit)
            elif frame.WhichOneof("frame") == "image":
                names.append(frame.image.reference)
        return names

    results = nodewise.everywhere(nodewise.names(client, args.node), f"naming {args.name}", one)
    if results.done:
        # It is enough that some node has it.
        results.failed = {node: error for node, error in results.failed.items() if not isinstance(error, NotFound)}
    for name, nodes in results.holders(lambda names: names):
        print(f"image {name} tagged on {', '.join(nodes)}")
    return results.report()
