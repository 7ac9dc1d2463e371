"""`kctl delete`: deletes objects and waits until they are gone."""

from __future__ import annotations

import sys
import time
from typing import Any

from cli import flags
from cli.complaints import complain
from cli.progress import Progress
from pinnace.errors import ApiError, BadRequest, NotFound, Timeout
from pinnace.kinds import Kind

Target = tuple[Kind, str, str]
FORCED = (
    "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. "
    "The resource may continue to run on the cluster indefinitely."
)


def run(arguments: list[str]) -> int:
    parser = flags.Parser("delete", "Delete objects, and wait until they are gone")
    parser.add_argument("what", nargs="*", help="TYPE NAME..., or TYPE/NAME...")
    flags.add_files(parser)
    flags.add_selectors(parser)
    parser.add_argument("--all", action="store_true", help="all objects of the type in the namespace")
    parser.add_argument("--now", action="store_true", help="give pods one second to stop")
    parser.add_argument("--force", action="store_true", help="remove the object without waiting for its node")
    parser.add_argument(
        "--grace-period",
        type=flags.between(),
        default=None,
        metavar="SECONDS",
        help="time to stop (default: the pod's)",
    )
    parser.add_argument("--wait", action="store_true", default=True, help="wait until the objects are gone (default: true)")
    parser.add_argument("--timeout", type=flags.seconds, default=0.0, help="maximum time to wait (default: no limit)")
    parser.add_argument(
        "--cascade",
        default="background",
        choices=("background", "foreground", "orphan"),
        help="what happens to dependents (default: background)",
    )
    parser.add_argument("--ignore-not-found", action="store_true", help="succeed for objects that do not exist")
    parser.add_argument("--dry-run", nargs="?", const="server", default="none", choices=flags.DRY_RUNS, help=flags.DRY_RUN)
    parser.add_argument("-o", "--output", default="", choices=("", "name"), help="name: print TYPE/NAME")
    args = parser.parse_intermixed_args(arguments)
    client = flags.client(args)
    if args.filename:
        return _delete_manifests(client, args)
    targets = _targets(client, args)
    if not targets:
        print("No resources found", file=sys.stderr)
        return 0
    return delete(client, targets, args)


def _delete_manifests(client: Any, args: Any) -> int:
    from cli import files

    if args.what:
        raise BadRequest("when paths or standard input are given with -f, no resource may be named as well")
    manifests = files.Manifests(args)
    try:
        # In reverse, so that a namespace is deleted after what the file put into it.
        targets = [(item.kind, item.namespace or client.context.namespace, item.name) for item in manifests]
        failed = delete(client, targets[::-1], args) if targets else 0
    finally:
        errors = manifests.report()
    return 1 if failed or errors else 0


def _targets(client: Any, args: Any) -> list[Target]:
    """(kind, namespace, name) of everything to delete."""
    default = client.context.namespace
    named = flags.targets(args.what)
    if all(name for _, name in named):
        return [(kind, default, name) for kind, name in named]
    if not (args.all or args.selector or args.field_selector):
        raise BadRequest(flags.NO_NAME)
    namespace = "" if args.all_namespaces else default
    found = []
    for kind, _ in named:
        for item in client.list(kind, namespace, labels=args.selector, fields=args.field_selector):
            found.append((kind, item.metadata.namespace, item.metadata.name))
    return found


def _grace(args: Any) -> int | None:
    if args.force:
        return 0
    if args.now:
        return 1
    if args.grace_period == 0:
        raise BadRequest("--grace-period=0 does not wait for the node to stop the pod: add --force")
    grace: int | None = args.grace_period
    return grace


def delete(client: Any, targets: list[Target], args: Any, *, quiet: bool = False) -> int:
    """Delete objects and wait until they are gone, as the flags say; returns the exit code. Raises BadRequest, Timeout."""
    grace = _grace(args)
    if args.force and args.dry_run == "none":
        print(FORCED, file=sys.stderr)
    pending: list[tuple[Target, str]] = []
    failed = 0
    for target in targets:
        try:
            uid = _one(client, target, grace, args)
        except ApiError as error:
            if not (args.ignore_not_found and isinstance(error, NotFound)):
                failed += 1
                complain(error)
            continue
        if not quiet:
            _report(target, args)
        if uid and args.wait:
            pending.append((target, uid))
    _wait(client, pending, args.timeout)
    return 1 if failed else 0


def _one(client: Any, target: Target, grace: int | None, args: Any) -> str:
    """Delete one object as far as --dry-run allows. Returns its uid while it is terminating. Raises ApiError."""
    from cli.client import opened, ref
    from pinnace.api.v1 import objects_pb2

    kind, namespace, name = target
    if args.dry_run == "client":
        client.get(kind, namespace, name)
        return ""
    request = objects_pb2.DeleteRequest(
        ref=ref(kind, namespace, name), propagationPolicy=args.cascade.capitalize(), dryRun=args.dry_run == "server"
    )
    if grace is not None:
        request.gracePeriodSeconds = grace
    answer = client.call(client.objects.Delete, request)
    if answer.gone or args.dry_run != "none":
        return ""
    return str(opened(kind, answer.object.protobuf).metadata.uid)


def _report(target: Target, args: Any) -> None:
    kind, _, name = target
    if args.output == "name":
        print(f"{kind.qualified}/{name}", flush=True)
        return
    how = "force deleted" if args.force else "deleted"
    where = "" if not kind.namespaced else f" from {args.namespace} namespace" if args.namespace else ""
    print(f'{kind.qualified} "{name}" {how}{where}{flags.DRY_RUN_SUFFIX[args.dry_run]}', flush=True)


def _wait(client: Any, pending: list[tuple[Target, str]], timeout: float) -> None:
    """Until every object of `pending` is gone, or is another one of the same name. Raises Timeout."""
    progress = Progress()
    deadline = time.monotonic() + timeout if timeout else None
    try:
        for number, ((kind, namespace, name), uid) in enumerate(pending):
            progress.show(f"waiting for {kind.qualified}/{name} to stop ({len(pending) - number} left)")
            left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
            try:
                until_gone(client, kind, namespace, name, uid=uid, timeout=left)
            except Timeout:
                raise Timeout(f"timed out waiting for {kind.qualified}/{name} to be deleted") from None
    finally:
        progress.clear()


def until_gone(client: Any, kind: Kind, namespace: str, name: str, *, uid: str, timeout: float | None) -> None:
    present = False
    for type_, item in client.watch(kind, namespace, name=name, timeout=timeout):
        if type_ == "DELETED" or (item is not None and item.metadata.uid != uid):
            return
        if item is None and not present:
            return
        present = True
