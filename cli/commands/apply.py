"""`kctl apply`: server-side apply of everything in files, in one call."""

from __future__ import annotations

import json
import sys
from typing import Any

from cli import files, flags, output
from cli.files import Item
from pinnace.errors import BadRequest


def run(arguments: list[str]) -> int:
    parser = flags.Parser("apply", "Make objects what files say. Fields that a file no longer has are removed.")
    flags.add_files(parser)
    parser.add_argument("--dry-run", nargs="?", const="server", default="none", choices=("none", "client", "server"))
    parser.add_argument("--force-conflicts", "--force", action="store_true", help="take fields that another manager owns")
    parser.add_argument("--field-manager", default="kctl", help="name that owns the fields (default: %(default)s)")
    parser.add_argument("--server-side", action="store_true", help="accepted for kubectl's sake: apply is always server-side")
    parser.add_argument("-o", "--output", default="", help=output.FORMATS)
    args = parser.parse_args(arguments)
    output.check(args.output)
    items = files.load(args.filename, recursive=args.recursive)
    if args.dry_run == "client":
        return _check_here(items)
    client = flags.client(args)
    return apply(client, items, args)


def _check_here(items: list[Item]) -> int:
    from pinnace import codec, rules

    failed = 0
    for item in items:
        value = {key: entry for key, entry in item.value.items() if key not in ("apiVersion", "kind")}
        try:
            message = codec.decode(item.kind.cls, value)
            rules.apply_defaults(message)
            faults = rules.validate(message)
        except codec.FieldError as error:
            faults = list(error.invalid().causes)
        for fault in faults:
            print(item.locate(fault), file=sys.stderr)
        failed += bool(faults)
        if not faults:
            print(f"{item.kind.singular}/{item.name} is well-formed (dry run)")
    return 1 if failed else 0


def request_for(client: Any, items: list[Item], args: Any) -> Any:
    from pinnace.api.v1 import objects_pb2

    request = objects_pb2.ApplyRequest(
        namespace=client.context.namespace, fieldManager=args.field_manager, force=args.force_conflicts,
        dryRun=args.dry_run == "server",
    )  # fmt: skip
    for item in items:
        if args.namespace and item.namespace and item.namespace != args.namespace:
            raise BadRequest(
                f'the namespace from the provided object "{item.namespace}" does not match the namespace "{args.namespace}". '
                f"You must pass '--namespace={item.namespace}' to perform this operation."
            )
        body = json.dumps(item.value).encode()
        request.objects.add(apiVersion=item.kind.api_version, kind=item.kind.kind, json=body)
    return request


def apply(client: Any, items: list[Item], args: Any) -> int:
    """Apply and print one line, or document, for each object."""
    request = request_for(client, items, args)
    response = client.call(client.objects.Apply, request)
    from pinnace.api.v1 import objects_pb2

    suffix = " (server dry run)" if request.dryRun else ""
    done: list[dict[str, Any]] = []
    failed = 0
    for item, result in zip(items, response.results, strict=True):
        if result.outcome == objects_pb2.ApplyResult.FAILED:
            failed += 1
            _complain(item, result.error)
            continue
        word = objects_pb2.ApplyResult.Outcome.Name(result.outcome).lower()
        if args.output in ("", "wide"):
            print(f"{item.kind.singular}/{item.name} {word}{suffix}")
        elif args.output == "name":
            print(f"{item.kind.singular}/{item.name}")
        else:
            done.append(output.document(item.kind, item.kind.cls.FromString(result.object.protobuf)))
    if done:
        print(output.structured(args.output, done, single=len(items) == 1))
    return 1 if failed else 0


def _complain(item: Item, status: Any) -> None:
    causes = [cause for cause in status.details.causes if cause.field and cause.reason != "FieldManagerConflict"]
    if not causes:
        where = f"{item.document.source}:{item.document.line_of(item.path)}"
        print(f"Error from server ({status.reason}): {where}: {status.message}", file=sys.stderr)
        if status.reason == "Conflict":
            print(
                "Take the fields with --force-conflicts, or remove them from the manifest to leave them to the other manager.",
                file=sys.stderr,
            )
        return
    for cause in causes:
        print(item.locate(cause), file=sys.stderr)
