"""`kctl apply`: server-side apply of everything in files."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Any

from cli import files, flags, output
from cli.files import Item, Manifests
from cli.pruning import options
from cli.pruning.removal import Applied
from pinnace import kinds, selectors
from pinnace.errors import BadRequest, Cause, Internal, NotFound, Timeout

NO_FORCE = (
    "--force cannot be used: kctl apply is server-side. Use --force-conflicts to take fields from other managers; "
    "to replace an object, use kctl delete, then kctl apply"
)

CONFLICT = (
    "\nTo take these fields from their managers, apply with --force-conflicts. To leave them, remove them from the "
    "manifest, or set them to their present values to own them too."
)
# Objects of one call, and bytes: of one object as in Kubernetes, and of a call, below the server's 8 MiB.
BATCH = 200
MAX_BODY = 3 << 20


def run(arguments: list[str]) -> int:
    parser = flags.Parser(
        "apply", "Create or update objects from files. Fields removed from a file are removed from its object."
    )
    flags.add_files(parser)
    parser.add_argument("--dry-run", nargs="?", const="server", default="none", choices=flags.DRY_RUNS, help=flags.DRY_RUN)
    parser.add_argument("--force-conflicts", action="store_true", help="take ownership of fields from other managers")
    parser.add_argument("--force", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--subresource", default="", choices=("", "status", "ephemeralcontainers"), help="apply this part of objects that exist"
    )
    parser.add_argument("--field-manager", default="kctl", help="owner of the applied fields (default: %(default)s)")
    parser.add_argument(
        "--server-side",
        action="store_true",
        default=True,
        help="accepted for kubectl scripts: kctl apply is always server-side",
    )
    parser.add_argument("-o", "--output", default="", help=output.FORMATS)
    options.add(parser)
    args = parser.parse_args(arguments)
    output.check(args.output)
    options.check(args)
    if args.force:
        raise BadRequest(NO_FORCE)
    if not args.server_side:
        raise BadRequest("--server-side=false cannot be used: kctl apply is always server-side")
    manifests = files.Manifests(args)
    try:
        if args.dry_run == "client":
            _check_here(_selected(manifests, args), manifests)
        elif args.prune:
            _apply_and_prune(flags.client(args), manifests, args)
        else:
            apply(flags.client(args), _selected(manifests, args), manifests, args)
    finally:
        # Last, so that they are seen below what was done; and also when the server went away halfway.
        failed = manifests.report()
    return 1 if failed else 0


def _check_here(items: Iterable[Item], manifests: Manifests) -> None:
    for item in items:
        causes = item.faults()
        for error in item.locate_all(causes):
            manifests.fail(error)
        if not causes:
            print(f"{item.kind.qualified}/{item.name} is well-formed (dry run)")


def _selected(manifests: Manifests, args: Any) -> Iterator[Item]:
    """The objects that --selector matches."""
    wanted = selectors.parse_labels(args.selector)
    for item in manifests:
        meta = item.value.get("metadata")
        labels = meta.get("labels") if isinstance(meta, dict) else None
        if selectors.matches_labels(wanted, labels if isinstance(labels, dict) else {}):
            yield item


def _apply_and_prune(client: Any, manifests: Manifests, args: Any) -> None:
    """Prunes nothing unless every object of every file was applied. Raises ApiError."""
    from cli.pruning.allowlist import Allowlist
    from cli.pruning.applyset import ApplySet

    pruner = ApplySet(client, args) if args.applyset else Allowlist(client, args)
    items = list(_selected(manifests, args))
    if not items and not manifests.errors:
        raise BadRequest("no objects passed to apply")
    applied = apply(client, pruner.prepare(items), manifests, args)
    if not manifests.errors:
        pruner.prune(applied)


def request_for(client: Any, items: list[Item], args: Any) -> Any:
    from cli.client import MANAGER, SUPERSEDED
    from pinnace.api.v1 import objects_pb2

    request = objects_pb2.ApplyRequest(
        namespace=client.context.namespace, fieldManager=args.field_manager, force=args.force_conflicts,
        dryRun=args.dry_run == "server", supersededManagers=SUPERSEDED if args.field_manager == MANAGER else (),
        subresource=getattr(args, "subresource", ""),
    )  # fmt: skip
    for item in items:
        request.objects.add(apiVersion=item.kind.api_version, kind=item.kind.kind, json=item.body())
    return request


def results(client: Any, items: list[Item], args: Any) -> list[Any]:
    """One ApplyResult for each item. Raises ApiError, Internal for an answer that has fewer or more."""
    found = list(client.call(client.objects.Apply, request_for(client, items, args)).results)
    if len(found) != len(items):
        raise Internal(f"the control plane answered for {len(found)} of {len(items)} objects")
    return found


def apply(client: Any, items: Iterable[Item], manifests: Manifests, args: Any) -> list[Applied]:
    """Apply and print one line, or document, for each object; with --prune, returns those that were applied. Raises ApiError
    when the server cannot be used at all."""
    done: list[dict[str, Any]] = []
    applied: list[Applied] = []
    total = 0
    try:
        for batch in _batches(items, manifests):
            total += len(batch)
            defined = [item.name for item in batch if item.kind is kinds.CUSTOM_RESOURCE_DEFINITION]
            for item, result in zip(batch, results(client, batch, args), strict=True):
                _tell(item, result, manifests, args, done)
                if args.prune:
                    applied += _applied(item, result)
            if defined and args.dry_run == "none":
                _wait_established(client, defined, manifests)
    finally:
        if done:
            print(output.structured(args.output, done, single=total == 1), end="")
    return applied


def _applied(item: Item, result: Any) -> Iterator[Applied]:
    from cli.client import opened
    from pinnace.api.v1 import objects_pb2

    if result.outcome != objects_pb2.ApplyResult.FAILED:
        meta = opened(item.kind, result.object.protobuf).metadata
        yield Applied(item.kind, meta.namespace, meta.uid)


def _batches(items: Iterable[Item], manifests: Manifests) -> Iterator[list[Item]]:
    """Items in calls of a size that the server takes, and that are over before their deadline."""
    batch: list[Item] = []
    size = 0
    for item in items:
        length = len(item.body())
        if length > MAX_BODY:
            manifests.fail(f"error: {item.place}: the object is larger than {MAX_BODY >> 20} MiB")
            continue
        if batch and (len(batch) == BATCH or size + length > MAX_BODY):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += length
        if item.kind is kinds.CUSTOM_RESOURCE_DEFINITION:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _wait_established(client: Any, names: list[str], manifests: Manifests) -> None:
    """So that the objects of these kinds, which may follow, are not refused. A definition that failed was reported already."""
    from cli import discovery

    for name in names:
        try:
            discovery.wait_established(client, name)
        except NotFound:
            continue
        except Timeout as error:
            manifests.fail(f"error: {error.message}")


def _tell(item: Item, result: Any, manifests: Manifests, args: Any, done: list[dict[str, Any]]) -> None:
    from cli.client import opened
    from pinnace import wire
    from pinnace.api.v1 import objects_pb2

    if result.outcome == objects_pb2.ApplyResult.FAILED:
        error = wire.from_status(result.error)
        manifests.fail(item.explain(error) + (CONFLICT if any(map(_of_manager, error.causes)) else ""))
        return
    word = objects_pb2.ApplyResult.Outcome.Name(result.outcome).lower()
    if args.output in ("", "wide"):
        print(f"{item.kind.qualified}/{item.name} {word}{flags.DRY_RUN_SUFFIX[args.dry_run]}")
    elif args.output == "name":
        print(f"{item.kind.qualified}/{item.name}")
    else:
        done.append(output.document(item.kind, opened(item.kind, result.object.protobuf)))


def _of_manager(cause: Cause) -> bool:
    return cause.reason == "FieldManagerConflict"
