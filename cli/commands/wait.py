"""`kctl wait`: until objects have a condition or a value, exist, or are deleted."""

from __future__ import annotations

import sys
import time
from typing import Any

from cli import conditions, flags, output
from cli.complaints import complain
from cli.progress import Progress
from pinnace.errors import ApiError, BadRequest, Expired, NotFound, Timeout
from pinnace.kinds import Kind

Target = tuple[Kind, str, str]
WEEK = 7 * 86_400.0
# Under so many seconds the object is read once instead of watched.
_MIN_WATCH = 0.05


def run(arguments: list[str]) -> int:
    parser = flags.Parser("wait", "Wait for objects: kctl wait pod/web --for=condition=Ready --timeout=60s")
    parser.add_argument("what", nargs="*", help="TYPE NAME..., TYPE/NAME..., or TYPE with -l or --all")
    flags.add_files(parser)
    flags.add_selectors(parser)
    parser.add_argument("--for", dest="for_", metavar="CONDITION", action="append", required=True, help=conditions.HELP)
    parser.add_argument("--all", action="store_true", help="all objects of the type in the namespace")
    parser.add_argument(
        "--timeout",
        type=flags.seconds,
        default=30.0,
        help="how long to wait; 0 checks once, negative waits a week (default: 30s)",
    )
    parser.add_argument("-o", "--output", default="", help=output.FORMATS)
    args = parser.parse_intermixed_args(arguments)
    output.check(args.output)
    waits = [_Wait(wanted) for wanted in args.for_]
    if not args.filename:
        return _run(flags.client(args), waits, args)
    from cli import files

    args.manifests = files.Manifests(args)
    try:
        failed = _run(flags.client(args), waits, args)
    finally:
        errors = args.manifests.report()
    return 1 if failed or errors else 0


class _Wait:
    """One --for."""

    def __init__(self, wanted: str) -> None:
        """Raises BadRequest."""
        self.text = wanted
        self.test = conditions.parse(wanted)
        self.create, self.delete = (conditions.is_word(wanted, word) for word in (conditions.CREATE, conditions.DELETE))


def _run(client: Any, waits: list[_Wait], args: Any) -> int:
    timeout = WEEK if args.timeout < 0 else args.timeout
    deadline = time.monotonic() + timeout
    creating = any(wait.create for wait in waits)
    targets = _targets(client, args, deadline=deadline if creating else None)
    deleting = any(wait.delete for wait in waits)
    if not targets and not deleting:
        print("error: no matching resources found", file=sys.stderr)
        return 1
    progress = Progress()
    failed = 0
    # A wait for `create` comes first, wherever it stands.
    ordered = sorted(waits, key=lambda wait: not wait.create)
    for kind, namespace, name in targets:
        try:
            for wait in ordered:
                progress.show(f"waiting for {kind.qualified}/{name}: {wait.text}")
                found = _one(client, (kind, namespace, name), wait, deadline=deadline, once=not timeout)
                progress.clear()
                _show(kind, found, args.output)
        except ApiError as error:
            progress.clear()
            if not (deleting and isinstance(error, NotFound)):
                failed += 1
                complain(error)
    return 1 if failed else 0


def _show(kind: Kind, found: Any, format_: str) -> None:
    word = f"{kind.qualified}/{found.metadata.name}"
    if format_ in ("", "wide"):
        print(f"{word} condition met", flush=True)
    elif format_ == "name":
        print(word, flush=True)
    else:
        print(output.structured(format_, [output.document(kind, found)], single=True), end="", flush=True)


def _targets(client: Any, args: Any, *, deadline: float | None) -> list[Target]:
    """The objects to wait for. With a deadline (of `create`) a selector without match is waited for.

    Raises BadRequest, Timeout."""
    default = client.context.namespace
    if args.filename:
        return [(item.kind, item.namespace or default, item.name) for item in args.manifests]
    named = flags.targets(args.what)
    if all(name for _, name in named):
        return [(kind, default, name) for kind, name in named]
    if not (args.all or args.selector or args.field_selector):
        raise BadRequest(flags.NO_NAME)
    namespace = "" if args.all_namespaces else default
    found: list[Target] = []
    for kind, _ in named:
        if deadline is not None:
            _until_one(client, kind, namespace, args, deadline=deadline)
        items = client.list(kind, namespace, labels=args.selector, fields=args.field_selector)
        found += [(kind, item.metadata.namespace, item.metadata.name) for item in items]
    return found


def _until_one(client: Any, kind: Kind, namespace: str, args: Any, *, deadline: float) -> None:
    """Until an object of the kind matches the selectors. Raises Timeout."""
    left = max(deadline - time.monotonic(), _MIN_WATCH)
    try:
        for _, item in client.watch(kind, namespace, labels=args.selector, fields=args.field_selector, timeout=left):
            if item is not None:
                return
    except Timeout:
        raise Timeout("timed out waiting for the condition") from None


def _one(client: Any, target: Target, wait: _Wait, *, deadline: float, once: bool) -> Any:
    """The object as it was when the condition held; the deleted one for `delete`. Raises Timeout, NotFound, BadRequest."""
    kind, namespace, name = target
    word = f"{kind.resource}/{name}"
    while (left := deadline - time.monotonic()) > _MIN_WATCH and not once:
        try:
            return _watch(client, target, wait, left)
        except Expired:
            continue
        except Timeout:
            break
    try:
        found = client.get(kind, namespace, name)
    except NotFound:
        if not wait.create:
            raise
    else:
        if wait.test(output.document(kind, found)):
            return found
    raise Timeout(f"condition not met for {word}" if once else f"timed out waiting for the condition on {word}")


def _watch(client: Any, target: Target, wait: _Wait, left: float) -> Any:
    """Raises Timeout after `left` seconds, Expired when the watch has to begin again, NotFound."""
    kind, namespace, name = target
    before: Any = None
    for type_, item in client.watch(kind, namespace, name=name, timeout=left):
        if item is None:
            # The state at the beginning is known: what is not there will not get a condition.
            if before is None and not wait.create:
                raise NotFound.of(kind.resource, name)
            continue
        replaced = before is not None and before.metadata.uid != item.metadata.uid
        if type_ == "DELETED" or replaced:
            if wait.delete:
                return item if type_ == "DELETED" else before
            if not wait.create:
                raise NotFound.of(kind.resource, name)
        elif wait.test(output.document(kind, item)):
            return item
        before = item
    raise Expired("the watch ended")
