"""`kctl image`: images on nodes. Each verb is an entry of VERBS; those with much to do have a module of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cli import flags, nodewise, pullsecret, tables
from cli.carry import raise_exit
from cli.commands import imagebuild, imageload, imagepush, imagesave, imageshow
from cli.counts import count
from cli.progress import Say
from cli.sizes import size
from pinnace.errors import NotFound


@dataclass(frozen=True, slots=True)
class Verb:
    """`configure` adds the flags of the verb to its parser; `run` returns the exit code."""

    help: str
    configure: Callable[[Any], None]
    run: Callable[[Any], int]


def run(arguments: list[str]) -> int:
    parser = flags.Parser("image", f"Images on nodes: {', '.join(VERBS)}")
    verbs = parser.verbs()
    for name, verb in VERBS.items():
        verb.configure(verbs.add_parser(name, help=verb.help))
    args = parser.parse_args(arguments)
    return VERBS[args.verb].run(args)


def _list(args: Any) -> int:
    found: dict[tuple[str, str], tuple[int, list[str]]] = {}
    results = _ask(args, "listing images", "ListImages", "listImages")
    for node, frames in sorted(results.done.items()):
        for frame in frames:
            image = frame.image
            found.setdefault((image.reference, image.id), (image.sizeBytes, []))[1].append(node)
    rows = [["IMAGE", "ID", "SIZE", "NODES"]]
    for (reference, id_), (taken, holders) in sorted(found.items()):
        rows.append([reference, id_.removeprefix("sha256:")[:12], size(taken), ",".join(holders)])
    print(tables.render(rows))
    return results.report()


def _pull(args: Any) -> int:
    config = pullsecret.read(flags.client(args), args.secret)
    results = _ask(
        args, f"pulling {args.reference}", "PullImage", "pullImage", reference=args.reference, dockerConfigJson=config
    )
    for name, nodes in results.holders(_images):
        print(f"image {name} pulled on {', '.join(nodes)}")
    return results.report()


def _remove(args: Any) -> int:
    results = _ask(args, f"removing {args.reference}", "RemoveImage", "removeImage", reference=args.reference)
    if results.done:
        # It is enough that some node had it.
        results.failed = {node: error for node, error in results.failed.items() if not isinstance(error, NotFound)}
    for name, nodes in results.holders(_images):
        print(f"image {name} removed on {', '.join(nodes)}")
    return results.report()


def _prune(args: Any) -> int:
    results = _ask(args, "pruning images", "PruneImages", "pruneImages", all=args.all)
    for name, nodes in results.holders(
        lambda frames: [f"{frame.image.reference} {_short(frame)}" for frame in _of_images(frames)]
    ):
        print(f"image {name} removed on {', '.join(nodes)}")
    freed = sum(frame.freedBytes for frames in results.done.values() for frame in frames)
    print(f"freed {size(freed)} on {count(len(results.done), 'node')}")
    return results.report()


def _ask(args: Any, title: str, method: str, kind: str, **options: Any) -> nodewise.Results[list[Any]]:
    """The frames that each node answers, in threads; its progress is shown and not returned."""
    from pinnace.api.v1 import streams_pb2, streams_pb2_grpc

    client = flags.client(args)
    call = getattr(streams_pb2_grpc.StreamsStub(client.channel), method)
    members: dict[str, Any] = {kind: options}

    def ask(node: str, say: Say) -> list[Any]:
        frames = []
        for frame in client.stream(call, streams_pb2.OpenStream(node=node, **members)):
            match frame.WhichOneof("frame"):
                case "exit":
                    raise_exit(frame.exit)
                case "progress":
                    say(frame.progress.rpartition('": ')[2])
                case _:
                    frames.append(frame)
        return frames

    return nodewise.everywhere(nodewise.names(client, args.node), title, ask)


def _of_images(frames: list[Any]) -> list[Any]:
    return [frame for frame in frames if frame.HasField("image")]


def _images(frames: list[Any]) -> list[str]:
    return [frame.image.reference for frame in _of_images(frames)]


def _short(frame: Any) -> str:
    return str(frame.image.id).removeprefix("sha256:")[:12]


def _add_reference(parser: Any) -> None:
    parser.add_argument("reference", help="name of the image")
    nodewise.add_flag(parser)


def _add_pull(parser: Any) -> None:
    _add_reference(parser)
    pullsecret.add_flag(parser)


def _add_prune(parser: Any) -> None:
    parser.add_argument("--all", action="store_true", help="remove every image that no pod uses, not only those without a name")
    nodewise.add_flag(parser)


VERBS: dict[str, Verb] = {
    "list": Verb("list the images of every node", nodewise.add_flag, _list),
    "pull": Verb("pull an image from its registry on every node", _add_pull, _pull),
    "load": Verb(
        "load an OCI layout, docker archive or root filesystem, as tar or directory, on every node",
        imageload.configure,
        imageload.run,
    ),
    "build": Verb(
        "build an image from a Dockerfile on one node, and copy it to every node", imagebuild.configure, imagebuild.run
    ),
    "push": Verb("send an image from a node to registries", imagepush.configure_push, imagepush.push),
    "tag": Verb("add a name to an image, on every node that has it", imagepush.configure_tag, imagepush.tag),
    "save": Verb("write images to an archive for `docker load`, skopeo or containerd", imagesave.configure, imagesave.run),
    "inspect": Verb("show the configuration of images as JSON", imageshow.configure_inspect, imageshow.inspect),
    "history": Verb("show the steps that made an image", imageshow.configure_history, imageshow.history),
    "rm": Verb("remove an image name; the image itself with its last name", _add_reference, _remove),
    "prune": Verb("remove images without a name; with --all every image that no pod uses", _add_prune, _prune),
}
