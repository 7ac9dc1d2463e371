"""`kctl wait`: until objects have a condition, a value, exist, or are gone."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from cli import flags, output
from pinnace.errors import BadRequest, NotFound, Timeout
from pinnace.kinds import Kind


def run(arguments: list[str]) -> int:
    parser = flags.Parser("wait", "Wait for objects: kctl wait pod/web --for=condition=Ready --timeout=60s")
    parser.add_argument("what", nargs="*")
    flags.add_files(parser)
    flags.add_selectors(parser)
    parser.add_argument(
        "--for",
        dest="for_",
        metavar="CONDITION",
        required=True,
        help="condition=NAME[=VALUE], jsonpath='{...}'=VALUE, create, delete",
    )
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--timeout", type=flags.seconds, default=30.0, help="default: 30s")
    args = parser.parse_intermixed_args(arguments)
    client = flags.client(args)
    targets = _targets(client, args)
    if not targets:
        print("error: no matching resources found", file=sys.stderr)
        return 1
    deadline = time.monotonic() + args.timeout
    progress = output.Progress()
    failed = 0
    for kind, namespace, name in targets:
        progress.show(f"waiting for {kind.singular}/{name}: {args.for_}")
        try:
            _wait(client, kind, namespace, name, args.for_, deadline)
            progress.clear()
            print(f"{kind.singular}/{name} {_met(args.for_)}")
        except Timeout:
            progress.clear()
            failed += 1
            print(f"error: timed out waiting for the condition on {kind.resource}/{name}", file=sys.stderr)
    return 1 if failed else 0


def _met(wanted: str) -> str:
    return {"delete": "deleted", "create": "created"}.get(wanted, "condition met")


def _targets(client: Any, args: Any) -> list[tuple[Kind, str, str]]:
    default = client.context.namespace
    if args.filename:
        from cli import files

        return [(i.kind, i.namespace or default, i.name) for i in files.load(args.filename, recursive=args.recursive)]
    named = flags.targets(args.what)
    if all(name for _, name in named):
        return [(kind, default, name) for kind, name in named]
    if not (args.all or args.selector or args.field_selector):
        raise BadRequest("name the objects, or use -l or --all")
    return [
        (kind, item.metadata.namespace, item.metadata.name)
        for kind, _ in named
        for item in client.list(kind, "" if args.all_namespaces else default, labels=args.selector, fields=args.field_selector)
    ]


def _wait(client: Any, kind: Kind, namespace: str, name: str, wanted: str, deadline: float) -> None:
    """Raises Timeout, and NotFound for an object that is not there to have a condition."""
    test = _test(kind, wanted)
    present = False
    left = max(deadline - time.monotonic(), 0.001)
    for type_, item in client.watch(kind, namespace, name=name, timeout=left):
        if type_ == "DELETED":
            if wanted == "delete":
                return
            present = False
        elif item is None:
            if not present and wanted == "delete":
                return
            if not present and wanted != "create":
                raise NotFound.of(kind.resource, name)
        else:
            present = True
            if test(item):
                return
    raise Timeout("the watch ended")


def _test(kind: Kind, wanted: str) -> Callable[[Any], bool]:
    if wanted == "delete":
        return lambda item: False
    if wanted == "create":
        return lambda item: True
    if wanted.startswith("condition="):
        type_, _, value = wanted.removeprefix("condition=").partition("=")
        return lambda item: _condition(item, type_).lower() == (value or "True").lower()
    if wanted.startswith("jsonpath="):
        template, sign, value = wanted.removeprefix("jsonpath=").rpartition("}=")
        if sign:
            template += "}"
        else:
            template, value = wanted.removeprefix("jsonpath="), ""
        return lambda item: _shown(kind, item, template) == value if value else bool(_shown(kind, item, template))
    raise BadRequest(f'unrecognized condition: "{wanted}" (condition=NAME[=VALUE], jsonpath={{...}}=VALUE, create, delete)')


def _condition(item: Any, type_: str) -> str:
    conditions = getattr(getattr(item, "status", None), "conditions", ())
    return next((str(c.status) for c in conditions if c.type.lower() == type_.lower()), "")


def _shown(kind: Kind, item: Any, template: str) -> str:
    from cli import jsonpath

    return jsonpath.evaluate(template.strip("'\""), output.document(kind, item))
