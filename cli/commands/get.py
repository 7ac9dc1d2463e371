"""`kctl get`: objects as tables or documents, once or as they change."""

from __future__ import annotations

import sys
from typing import Any

from cli import flags, output
from cli.complaints import complain
from cli.getting.documents import Documents
from cli.getting.reader import Reader, Target
from cli.getting.rows import Tables
from pinnace.errors import ApiError, BadRequest, Expired, NotFound


def run(arguments: list[str]) -> int:
    parser = flags.Parser("get", "Show one or many objects: kctl get pods, kctl get pod/web, kctl get po,no -o wide")
    parser.add_argument("what", nargs="*", help="TYPE [NAME...], TYPE/NAME..., TYPE,TYPE, or a category such as all")
    parser.add_argument("-o", "--output", default="", help=output.FORMATS)
    parser.add_argument("--template", default="", help="template of -o jsonpath, -o jsonpath-as-json and -o jsonpath-file")
    parser.add_argument(
        "--allow-missing-template-keys", action="store_true", default=True,
        help="ignore fields that an object does not have in a template (default: true)",
    )  # fmt: skip
    parser.add_argument("-w", "--watch", action="store_true", help="list, then watch for changes")
    parser.add_argument("--sort-by", default="", metavar="PATH", help="sort by a field, such as .metadata.creationTimestamp")
    parser.add_argument("-L", "--label-columns", action="append", default=[], metavar="LABEL", help="add a column for a label")
    parser.add_argument("--show-labels", action="store_true", help="add all labels as the last column")
    parser.add_argument("--no-headers", action="store_true", help="print no header line")
    parser.add_argument(
        "--subresource", default="", choices=("", "resize", "scale", "status"), help="show this part of the named objects"
    )
    parser.add_argument("--show-managed-fields", action="store_true", help="keep managedFields in json and yaml output")
    parser.add_argument("-f", "--filename", action="append", default=[], help="file that names the objects (repeatable)")
    parser.add_argument("-R", "--recursive", action="store_true", help="read directories of -f recursively")
    parser.add_argument(
        "--ignore-not-found", action="store_true", help="succeed, without output, for objects that do not exist"
    )
    parser.add_argument("--raw", default="", metavar="PATH", help="print the answer of the REST API to a GET of this path")
    flags.add_selectors(parser)
    args = parser.parse_intermixed_args(arguments)
    args.output = output.check(f"{args.output}={args.template}" if args.template and "=" not in args.output else args.output)
    client = flags.client(args)
    if args.raw:
        return _raw(client, args)
    namespace = "" if args.all_namespaces else client.context.namespace
    if args.filename:
        return _manifests(client, namespace, args)
    return _get(client, [Target(kind, name, namespace) for kind, name in flags.targets(args.what)], args)


def _raw(client: Any, args: Any) -> int:
    """Raises ApiError."""
    from cli import carry, rawrequest

    if args.what or args.filename or args.output or args.watch or args.selector or args.field_selector:
        raise BadRequest("arguments may not be passed when --raw is specified, nor -f, -o, -w and selectors")
    rawrequest.get(client.context, args.raw, lambda data: carry.write(1, data))
    return 0


def _manifests(client: Any, namespace: str, args: Any) -> int:
    """The objects that files name."""
    from cli import files

    manifests = files.Manifests(args)
    try:
        targets = [Target(item.kind, item.name, item.namespace or namespace) for item in manifests]
        failed = _get(client, targets, args) if targets else 0
    finally:
        errors = manifests.report()
    return 1 if failed or errors else 0


def _get(client: Any, targets: list[Target], args: Any) -> int:
    """Raises BadRequest."""
    if args.subresource and not all(target.name for target in targets):
        raise BadRequest("subresource cannot be used when bulk resources are selected")
    if args.subresource and args.watch:
        raise BadRequest("--subresource and --watch cannot be used together")
    reader: Reader[Any] = Tables(client, args) if args.output in ("", "wide") else Documents(client, args)
    return _watch(reader, targets) if args.watch else _show(reader, targets, args)


def _show(reader: Reader[Any], targets: list[Target], args: Any) -> int:
    missing: list[ApiError] = []
    for target in targets:
        try:
            if target.name and args.all_namespaces:
                raise BadRequest("a resource cannot be retrieved by name across all namespaces")
            reader.read(target)
        except NotFound as error:
            missing += () if args.ignore_not_found else (error,)
    read = reader.print(targets)
    if not read and not args.ignore_not_found and any(not target.name for target in targets):
        where = "" if args.all_namespaces or not targets[0].kind.namespaced else f" in {targets[0].namespace} namespace"
        print(f"No resources found{where}.", file=sys.stderr)
    for failure in missing:
        complain(failure)
    return 1 if missing else 0


def _watch(reader: Reader[Any], targets: list[Target]) -> int:
    if len(targets) != 1:
        raise BadRequest("you may only specify a single resource type, or a single object, to watch")
    if targets[0].name:
        # Watching an object that does not exist is an error more often than intended; kctl wait --for=create waits for it.
        reader.client.get(targets[0].kind, targets[0].namespace, targets[0].name)
    while True:
        try:
            _follow(reader, targets[0])
        except Expired:
            continue
        return 0


def _follow(reader: Reader[Any], target: Target) -> None:
    """The present objects at once, whose columns fit all of them; then every change. Raises Expired."""
    present: list[Any] | None = []
    for type_, items in reader.watch(target):
        if present is not None and type_ != "BOOKMARK":
            present += items
        elif present is not None:
            reader.print_changes(target, reader.ordered(target.kind, present))
            present = None
        else:
            reader.print_changes(target, items, deleted=type_ == "DELETED")
