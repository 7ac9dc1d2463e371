"""`kctl delete`: asks for the deletion and waits until the objects are gone."""

from __future__ import annotations

import sys
import time
from typing import Any

from cli import flags, output
from cli.complaints import complain
from pinnace.errors import ApiError, BadRequest, NotFound, Timeout
from pinnace.kinds import Kind


def run(arguments: list[str]) -> int:
    parser = flags.Parser("delete", "Delete objects, and wait until they are gone")
    parser.add_argument("what", nargs="*", help="kind name..., or kind/name...")
    flags.add_files(parser)
    flags.add_selectors(parser)
    parser.add_argument("--all", action="store_true", help="all objects of the kind in the namespace")
    parser.add_argument("--now", action="store_true", help="give pods one second to stop")
    parser.add_argument("--force", action="store_true", help="forget the object at once, whether or not its node answers")
    parser.add_argument("--grace-period", type=int, default=None, metavar="SECONDS")
    parser.add_argument("--wait", default="true", choices=("true", "false"), nargs="?", const="true")
    parser.add_argument("--timeout", type=flags.seconds, default=0.0, help="how long to wait (default: as long as it takes)")
    parser.add_argument("--cascade", default="background", choices=("background", "foreground", "orphan"))
    parser.add_argument("--ignore-not-found", action="store_true")
    parser.add_argument("--dry-run", nargs="?", const="server", default="none", choices=("none", "server"))
    parser.add_argument("-o", "--output", default="", choices=("", "name"))
    args = parser.parse_intermixed_args(arguments)
    client = flags.client(args)
    targets = _targets(client, args)
    if not targets:
        print("No resources found", file=sys.stderr)
        return 0
    return _delete(client, targets, args)


def _targets(client: Any, args: Any) -> list[tuple[Kind, str, str]]:
    """(kind, namespace, name) of everything to delete."""
    default = client.context.namespace
    if args.filename:
        from cli import files

        items = files.load(args.filename, recursive=args.recursive)
        # Backwards, so that what was made first goes last.
        return [(item.kind, item.namespace or default, item.name) for item in reversed(items)]
    named = flags.targets(args.what)
    if all(name for _, name in named):
        return [(kind, default, name) for kind, name in named]
    if not (args.all or args.selector or args.field_selector):
        raise BadRequest("resource(s) were provided, but no name was specified: name them, or use -l or --all")
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
        raise BadRequest("--grace-period=0 forgets the object without its node's word: say --force with it")
    grace: int | None = args.grace_period
    return grace


def _delete(client: Any, targets: list[tuple[Kind, str, str]], args: Any) -> int:
    from cli.client import ref
    from pinnace.api.v1 import objects_pb2

    grace = _grace(args)
    if args.force:
        print(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. "
            "The resource may continue to run on the cluster indefinitely.",
            file=sys.stderr,
        )
    pending: list[tuple[Kind, str, str, str]] = []
    failed = 0
    for kind, namespace, name in targets:
        request = objects_pb2.DeleteRequest(
            ref=ref(kind, namespace, name), propagationPolicy=args.cascade.capitalize(), dryRun=args.dry_run == "server"
        )
        if grace is not None:
            request.gracePeriodSeconds = grace
        try:
            answer = client.call(client.objects.Delete, request)
        except NotFound as error:
            if not args.ignore_not_found:
                failed += 1
                complain(error)
            continue
        except ApiError as error:
            failed += 1
            complain(error)
            continue
        _say(kind, name, args)
        if not answer.gone and args.wait == "true" and args.dry_run == "none":
            message: Any = kind.cls.FromString(answer.object.protobuf)
            pending.append((kind, namespace, name, message.metadata.uid))
    _wait(client, pending, args.timeout)
    return 1 if failed else 0


def _say(kind: Kind, name: str, args: Any) -> None:
    if args.output == "name":
        print(f"{kind.singular}/{name}", flush=True)
        return
    how = "force deleted" if args.force else "deleted"
    where = "" if not kind.namespaced else f" from {args.namespace} namespace" if args.namespace else ""
    print(f'{kind.singular} "{name}" {how}{where}', flush=True)


def _wait(client: Any, pending: list[tuple[Kind, str, str, str]], timeout: float) -> None:
    """Until every object of `pending` is gone, or is another one of the same name. Raises Timeout."""
    progress = output.Progress()
    deadline = time.monotonic() + timeout if timeout else None
    try:
        for number, (kind, namespace, name, uid) in enumerate(pending):
            progress.show(f"waiting for {kind.singular}/{name} to stop ({len(pending) - number} left)")
            left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
            try:
                _until_gone(client, kind, namespace, name, uid=uid, timeout=left)
            except Timeout:
                raise Timeout(f"timed out waiting for {kind.singular}/{name} to be deleted") from None
    finally:
        progress.clear()


def _until_gone(client: Any, kind: Kind, namespace: str, name: str, *, uid: str, timeout: float | None) -> None:
    present = False
    for type_, item in client.watch(kind, namespace, name=name, timeout=timeout):
        if type_ == "DELETED" or (item is not None and item.metadata.uid != uid):
            return
        if item is None and not present:
            return
        present = True
