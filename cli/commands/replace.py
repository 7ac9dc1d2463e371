"""`kctl replace`: put the objects of files in place of those that exist.

A resourceVersion in a file must be the object's, so that nothing is lost that the file's author has not seen.
"""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

from cli import files, flags, output
from cli.commands import create
from pinnace.errors import ApiError, BadRequest, Conflict, Unavailable


def run(arguments: list[str]) -> int:
    parser = flags.Parser("replace", "Replace existing objects from files. Fields that a file lacks are removed.")
    flags.add_files(parser)
    parser.add_argument("--force", action="store_true", help="delete each object, if it exists, then create it")
    parser.add_argument(
        "--grace-period",
        type=flags.between(),
        default=None,
        metavar="SECONDS",
        help="time to stop with --force (default: the pod's)",
    )
    parser.add_argument(
        "--timeout", type=flags.seconds, default=300.0, help="maximum time to wait for a deletion with --force (default: 5m)"
    )
    parser.add_argument("--dry-run", nargs="?", const="server", default="none", choices=flags.DRY_RUNS, help=flags.DRY_RUN)
    parser.add_argument("--field-manager", default="", help="owner of the replaced fields (default: kctl-replace)")
    parser.add_argument("-o", "--output", default="", help=output.FORMATS)
    args = parser.parse_args(arguments)
    output.check(args.output)
    if args.force and args.dry_run == "server":
        raise BadRequest("--force cannot be used with --dry-run=server")
    if args.grace_period is not None and not args.force:
        raise BadRequest("--grace-period must have --force specified")
    manifests = files.Manifests(args)
    try:
        _replace_all(flags.client(args), manifests, args)
    finally:
        failed = manifests.report()
    return 1 if failed else 0


def _replace_all(client: Any, manifests: files.Manifests, args: Any) -> None:
    """Raises Unavailable."""
    between = ""
    for item in manifests:
        causes = item.faults() if args.dry_run == "client" else ()
        if causes:
            for error in item.locate_all(causes):
                manifests.fail(error)
            continue
        try:
            if args.force and args.dry_run == "none":
                _delete(client, item, args)
            text = _replace(client, item, args)
        except Unavailable:
            raise
        except ApiError as error:
            manifests.fail(item.explain(error))
            continue
        print(between + text, end="", flush=True)
        between = "---\n" if args.output == "yaml" else ""


def _delete(client: Any, item: files.Item, args: Any) -> None:
    """Until the object is gone; one that does not exist is. Raises Timeout, ApiError."""
    from cli.commands import delete

    target = (item.kind, item.namespace or client.context.namespace, item.name)
    options = SimpleNamespace(
        force=args.grace_period == 0, now=False, grace_period=args.grace_period, dry_run="none", ignore_not_found=True,
        cascade="background", wait=True, timeout=args.timeout, output="", namespace="",
    )  # fmt: skip
    if delete.delete(client, [target], options, quiet=bool(args.output)):
        raise Conflict(f'{item.kind.resource} "{item.name}" could not be deleted')


def _replace(client: Any, item: files.Item, args: Any) -> str:
    """Replace one object; returns what to print of it. Raises ApiError, NotFound when it does not exist."""
    from cli.client import manager, opened
    from pinnace.api.v1 import objects_pb2

    value = {**item.value, "metadata": create.without_version(item.value.get("metadata"))} if args.force else item.value
    request = objects_pb2.WriteRequest(
        object=objects_pb2.Object(
            apiVersion=item.kind.api_version, kind=item.kind.kind, json=dataclasses.replace(item, value=value).body()
        ),
        namespace=client.context.namespace,
        fieldManager=args.field_manager or manager("replace"),
        dryRun=args.dry_run == "server",
    )
    if args.dry_run == "client":
        message = client.get(item.kind, item.namespace or client.context.namespace, item.name)
    else:
        method = client.objects.Create if args.force else client.objects.Update
        message = opened(item.kind, client.call(method, request).protobuf)
    name = f"{item.kind.qualified}/{message.metadata.name}"
    if args.output in ("", "wide"):
        return f"{name} replaced{flags.DRY_RUN_SUFFIX[args.dry_run]}\n"
    if args.output == "name":
        return name + "\n"
    return output.structured(args.output, [output.document(item.kind, message)], single=True)
