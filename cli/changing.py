"""The objects that a command changes one by one (label, annotate, taint), how each is patched, and what is printed of it.

An object that cannot be changed does not affect the others: it is reported, and kctl's exit code is 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cli import flags, output
from cli.complaints import complain
from pinnace.errors import ApiError, BadRequest, Unavailable
from pinnace.kinds import Kind


class Target(NamedTuple):
    kind: Kind
    namespace: str
    name: str


def add_flags(parser: flags.Parser, command: str) -> None:
    """Which objects, and how they are written and shown."""
    flags.add_files(parser)
    flags.add_selectors(parser)
    parser.add_argument("--all", action="store_true", help="all objects of the type in the namespace")
    add_writing(parser, command)


def add_writing(parser: flags.Parser, command: str) -> None:
    parser.add_argument("--field-manager", default="", help=f"owner of the changed fields (default: kctl-{command})")
    parser.add_argument("--dry-run", nargs="?", const="server", default="none", choices=flags.DRY_RUNS, help=flags.DRY_RUN)
    parser.add_argument("-o", "--output", default="", help=output.FORMATS)


def words_and_pairs(words: list[str], what: str, marks: str = "=") -> tuple[list[str], list[str]]:
    """Words that name objects, and those that change them: with one of `marks` in it, or a `-` at the end. Raises BadRequest.

    Source: GetResourcesAndPairs of kubectl's pkg/cmd/util."""
    objects: list[str] = []
    pairs: list[str] = []
    for word in words:
        if any(mark in word[1:] for mark in marks) or (word.endswith("-") and word != "-"):
            pairs.append(word)
        elif pairs:
            raise BadRequest(f"all resources must be specified before {what} changes: {word}")
        else:
            objects.append(word)
    return objects, pairs


def each(
    client: Any, args: Any, words: list[str], change: Callable[[Target, bool], None], *, every: bool = False
) -> int:  # fmt: skip
    """Call `change` for each object, with whether it is the only one named; returns the exit code. Raises BadRequest.

    `every`: a type without a name stands for all its objects."""
    if not args.filename:
        targets, single = named(client, args, words, every=every)
        return 1 if _change_all(targets, change, single=single) else 0
    from cli import files

    if words:
        raise BadRequest("when paths or standard input are given with -f, no resource may be named as well")
    manifests = files.Manifests(args)
    try:
        targets = [Target(item.kind, item.namespace or client.context.namespace, item.name) for item in manifests]
        failed = _change_all(targets, change, single=len(targets) == 1)
    finally:
        errors = manifests.report()
    return 1 if failed or errors else 0


def named(client: Any, args: Any, words: list[str], *, every: bool = False) -> tuple[list[Target], bool]:
    """The objects that words and selectors name, and whether that is one by its name. Raises BadRequest, NotFound."""
    if not words:
        raise BadRequest("one or more resources must be specified as <resource> <name> or <resource>/<name>")
    selecting = bool(args.selector or args.field_selector)
    if args.all and selecting:
        raise BadRequest(f"cannot set --all and --{'selector' if args.selector else 'field-selector'} at the same time")
    default, pairs = client.context.namespace, flags.targets(words)
    if all(name for _, name in pairs):
        if args.all or selecting:
            raise BadRequest("name cannot be provided when a selector or --all is specified")
        return [Target(kind, default, name) for kind, name in pairs], len(pairs) == 1
    if not (args.all or selecting or every):
        raise BadRequest(flags.NO_NAME)
    namespace = "" if args.all_namespaces else default
    return [
        Target(kind, item.metadata.namespace, item.metadata.name)
        for kind, _ in pairs
        for item in client.list(kind, namespace, labels=args.selector, fields=args.field_selector)
    ], False


def _change_all(targets: list[Target], change: Callable[[Target, bool], None], *, single: bool) -> int:
    """Returns the number of objects that failed. Raises Unavailable."""
    failed = 0
    for target in targets:
        try:
            change(target, single)
        except Unavailable:
            raise
        except ApiError as error:
            failed += 1
            complain(error)
    return failed


def patch(
    client: Any, target: Target, body: Mapping[str, Any] | list[Any], command: str, args: Any, *, type_: str = "MERGE"
) -> Any:
    """The object after a patch, which a dry run does not store; `type_` is one of PatchRequest. Raises ApiError."""
    from cli.client import manager, opened, ref
    from pinnace.api.v1 import objects_pb2

    request = objects_pb2.PatchRequest(
        ref=ref(*target), type=type_, patch=json.dumps(body).encode(),
        fieldManager=getattr(args, "field_manager", "") or manager(command), dryRun=args.dry_run != "none",
        subresource=getattr(args, "subresource", ""),
    )  # fmt: skip
    return opened(target.kind, client.call(client.objects.Patch, request).protobuf)


def word_of(kind: Kind, name: str) -> str:
    """`pod/web`, `crontab.stable.example.com/web`."""
    return f"{kind.qualified}/{name}"


def show(kind: Kind, item: Any, done: str, args: Any) -> None:
    """One line that says what was done, or the object in the format of -o."""
    word = word_of(kind, item.metadata.name)
    if args.output in ("", "wide"):
        print(f"{word} {done}{flags.DRY_RUN_SUFFIX[args.dry_run]}", flush=True)
    elif args.output == "name":
        print(word, flush=True)
    else:
        print(output.structured(args.output, [output.document(kind, item)], single=True), end="", flush=True)
