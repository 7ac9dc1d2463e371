"""`kctl scale`: set the number of replicas of objects that can be scaled."""

from __future__ import annotations

import json
from typing import Any

from cli import flags
from cli.complaints import complain
from pinnace.errors import ApiError, BadRequest, Conflict, Unavailable
from pinnace.kinds import Kind

# Kind, namespace and name.
Target = tuple[Kind, str, str]
MAX_REPLICAS = (1 << 31) - 1
# Attempts to write what another client changed in between.
TRIES = 5


def run(arguments: list[str]) -> int:
    parser = flags.Parser("scale", "Set the number of replicas: kctl scale crontab/backup --replicas=3")
    parser.add_argument("what", nargs="*", help="TYPE NAME..., or TYPE/NAME...")
    parser.add_argument("--replicas", type=flags.between(0, MAX_REPLICAS), required=True, help="number of replicas to set")
    parser.add_argument(
        "--current-replicas", type=flags.between(0, MAX_REPLICAS), help="scale only if this is the current number of replicas"
    )
    parser.add_argument("--resource-version", default="", help="scale only if this is the object's current resourceVersion")
    flags.add_files(parser)
    parser.add_argument("--all", action="store_true", help="all objects of the type in the namespace")
    parser.add_argument("-l", "--selector", default="", help="label selector, such as app=web,tier!=cache")
    parser.add_argument("--field-manager", default="", help="owner of the replicas (default: kctl-scale)")
    parser.add_argument("--dry-run", nargs="?", const="server", default="none", choices=flags.DRY_RUNS, help=flags.DRY_RUN)
    parser.add_argument("-o", "--output", default="", choices=("", "name"), help="name: print TYPE/NAME")
    args = parser.parse_intermixed_args(arguments)
    client = flags.client(args)
    if args.filename:
        return _scale_manifests(client, args)
    return 1 if _scale_all(client, _targets(client, args), args) else 0


def _scale_manifests(client: Any, args: Any) -> int:
    from cli import files

    if args.what:
        raise BadRequest("when paths or standard input are given with -f, no resource may be named as well")
    manifests = files.Manifests(args)
    try:
        targets = [(item.kind, item.namespace or client.context.namespace, item.name) for item in manifests]
        failed = _scale_all(client, targets, args)
    finally:
        errors = manifests.report()
    return 1 if failed or errors else 0


def _targets(client: Any, args: Any) -> list[Target]:
    """Raises BadRequest, NotFound."""
    namespace, named = client.context.namespace, flags.targets(args.what)
    if all(name for _, name in named):
        return [(kind, namespace, name) for kind, name in named]
    if not (args.all or args.selector):
        raise BadRequest(flags.NO_NAME)
    return [
        (kind, item.metadata.namespace, item.metadata.name)
        for kind, _ in named
        for item in client.list(kind, namespace, labels=args.selector)
    ]


def _scale_all(client: Any, targets: list[Target], args: Any) -> int:
    """Returns the number of objects that could not be scaled. Raises Unavailable."""
    failed = 0
    for kind, namespace, name in targets:
        try:
            _scale(client, kind, namespace, name, args)
        except Unavailable:
            raise
        except ApiError as error:
            failed += 1
            complain(error)
            continue
        word = f"{kind.qualified}/{name}"
        print(word if args.output == "name" else f"{word} scaled{flags.DRY_RUN_SUFFIX[args.dry_run]}")
    return failed


def _scale(client: Any, kind: Kind, namespace: str, name: str, args: Any) -> None:
    """Raises ApiError."""
    if args.dry_run == "client":
        _check(client.get(kind, namespace, name, subresource="scale"), args)
    elif args.current_replicas is None and not args.resource_version:
        _patch(client, kind, namespace, name, args)
    else:
        _replace(client, kind, namespace, name, args)


def _patch(client: Any, kind: Kind, namespace: str, name: str, args: Any) -> None:
    """Also of an object that has no replicas yet."""
    from cli.client import ref
    from pinnace.api.v1 import objects_pb2

    patch = json.dumps({"spec": {"replicas": args.replicas}}).encode()
    request = objects_pb2.PatchRequest(
        ref=ref(kind, namespace, name), type=objects_pb2.PatchRequest.MERGE, patch=patch, subresource="scale", **_options(args)
    )
    client.call(client.objects.Patch, request)


def _replace(client: Any, kind: Kind, namespace: str, name: str, args: Any) -> None:
    """Write what was read, so that the conditions of the command line hold then."""
    from cli.client import ref
    from pinnace import kinds
    from pinnace.api.v1 import objects_pb2

    for left in reversed(range(TRIES)):
        scale = client.get(kind, namespace, name, subresource="scale")
        _check(scale, args)
        scale.spec.replicas = args.replicas
        item = objects_pb2.Object(apiVersion=kinds.SCALE.api_version, kind=kinds.SCALE.kind, protobuf=scale.SerializeToString())
        request = objects_pb2.WriteRequest(
            object=item, ref=ref(kind, namespace, name), subresource="scale", **_options(args)
        )  # fmt: skip
        try:
            client.call(client.objects.Update, request)
        except Conflict:
            if not left or args.resource_version:
                raise
            continue
        return


def _options(args: Any) -> dict[str, Any]:
    from cli.client import manager

    return {"fieldManager": args.field_manager or manager("scale"), "dryRun": args.dry_run == "server"}


def _check(scale: Any, args: Any) -> None:
    """Raises Conflict where the object is not as the command line demands."""
    version, replicas = scale.metadata.resourceVersion, scale.spec.replicas
    if args.current_replicas not in (None, replicas):
        raise Conflict(f"Expected replicas to be {args.current_replicas}, was {replicas}")
    if args.resource_version not in ("", version):
        raise Conflict(f"Expected resource version to be {args.resource_version}, was {version}")
