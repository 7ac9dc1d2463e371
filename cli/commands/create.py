"""`kctl create`: from files, or from flags, as `cli.creating` makes objects of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cli import files, flags, output
from cli.commands import createtoken
from cli.main import split
from pinnace import kinds
from pinnace.errors import ApiError, BadRequest, Unavailable

if TYPE_CHECKING:
    from cli.creating.generators import Generator


def run(arguments: list[str]) -> int:
    before, word, rest = _split(arguments)
    if word == "token":
        return createtoken.run([*before, *rest])
    if word is not None and not word.startswith("-"):
        return _generate(word, before, rest)
    parser = flags.Parser(
        "create",
        "Create objects of files (-f FILE), or of flags (kctl create KIND NAME; kctl create KIND --help): clusterrole, "
        "clusterrolebinding, configmap, cronjob, deployment, ingress, job, namespace, poddisruptionbudget, priorityclass, "
        "quota, role, rolebinding, secret generic|docker-registry|tls, "
        "service clusterip|nodeport|loadbalancer|externalname, serviceaccount, token",
    )
    flags.add_files(parser)
    _add_writing(parser)
    args = parser.parse_intermixed_args(arguments)
    output.check(args.output)
    if not args.filename:
        raise BadRequest("specify -f FILE, or KIND NAME (kctl create --help)")
    manifests = files.Manifests(args)
    try:
        if args.dry_run == "client":
            print(_here(_checked(manifests), args), end="")
        else:
            _create_all(flags.client(args), manifests, args)
    finally:
        failed = manifests.report()
    return 1 if failed else 0


# Flags of this command that take a value.
_WITH_VALUE = frozenset(("-o", "--output", "--field-manager", "-n", "--namespace", "--context", "--config"))


def _split(arguments: list[str]) -> tuple[list[str], str | None, list[str]]:
    """As `split`, also with flags of this command before the kind."""
    before, word, rest = split(arguments)
    if word is None or not word.startswith("-") or any(item in ("-f", "-k", "-h", "--help") for item in arguments):
        return before, word, rest
    skip = False
    for index, item in enumerate(arguments):
        if not skip and not item.startswith("-"):
            return arguments[:index], item, arguments[index + 1 :]
        skip = not skip and item in _WITH_VALUE
    return before, word, rest


def _add_writing(parser: flags.Parser) -> None:
    parser.add_argument("--dry-run", nargs="?", const="server", default="none", choices=flags.DRY_RUNS, help=flags.DRY_RUN)
    parser.add_argument("--field-manager", default="", help="owner of the created fields (default: kctl-create)")
    parser.add_argument("-o", "--output", default="", help=output.FORMATS)


def _generate(word: str, before: list[str], rest: list[str]) -> int:
    """Raises ApiError."""
    from cli import carry

    kind, generator, command, rest = _generator(word, rest)
    parser = flags.Parser(f"create {command}", generator.text)
    parser.add_argument("name", help=f"name of the {kind.kind}")
    generator.add_flags(parser)
    _add_writing(parser)
    own, process = carry.split_command([*before, *rest])
    args = parser.parse_intermixed_args(own)
    output.check(args.output)
    if args.dry_run == "client":
        print(_here([(kind, _named(generator.build(args, process), args.name))], args), end="")
        return 0
    client = args.client = flags.client(args)
    print(_create(client, kind, _named(generator.build(args, process), args.name), args), end="")
    return 0


def _generator(word: str, rest: list[str]) -> tuple[kinds.Kind, Generator, str, list[str]]:
    """The kind that a word means, how it is made of flags, its command, and the words that follow. Raises BadRequest."""
    from cli.creating import generators

    kind = next((kind for kind in (*generators.GENERATORS, *generators.TYPED) if word.lower() in kind.words), None)
    if kind is None:
        known = ", ".join(sorted([*(kind.singular for kind in (*generators.GENERATORS, *generators.TYPED)), "token"]))
        raise BadRequest(f'"{word[:80]}" cannot be created of flags (known: {known}): use -f FILE')
    if kind not in generators.TYPED:
        return kind, generators.GENERATORS[kind], kind.singular, rest
    before, word_of_type, rest = _split(rest)
    types, name = generators.TYPED[kind], kind.singular
    found = types.get(word_of_type or "")
    if found is None:
        raise BadRequest(f"must specify the type of {name}: create {name} {'|'.join(types)} NAME")
    return kind, found, f"{name} {word_of_type}", [*before, *rest]


def _named(value: dict[str, Any], name: str) -> dict[str, Any]:
    return {**value, "metadata": {"name": name, **value.get("metadata", {})}}


def _checked(manifests: files.Manifests) -> list[tuple[kinds.Kind, dict[str, Any]]]:
    """The objects in which no error can be seen without the server; the others fail."""
    pairs = []
    for item in manifests:
        causes = item.faults(generates=True)
        for error in item.locate_all(causes):
            manifests.fail(error)
        if not causes:
            pairs.append((item.kind, item.value))
    return pairs


def _here(pairs: list[tuple[kinds.Kind, dict[str, Any]]], args: Any) -> str:
    """What would be sent to the server, which is not asked."""
    documents = [{"apiVersion": kind.api_version, "kind": kind.kind, **value} for kind, value in pairs]
    if args.output not in ("", "wide", "name"):
        return output.structured(args.output, documents, single=len(documents) == 1) if documents else ""
    lines = []
    for kind, value in pairs:
        meta = value.get("metadata") or {}
        word = f"{kind.qualified}/{meta.get('name') or meta.get('generateName')}"
        lines.append(f"{word}\n" if args.output == "name" else f"{word} created (dry run)\n")
    return "".join(lines)


def _create_all(client: Any, manifests: files.Manifests, args: Any) -> None:
    """Raises Unavailable."""
    between = ""
    for item in manifests:
        try:
            # As kubectl: what was printed of an object that is gone makes it anew.
            value = {**item.value, "metadata": without_version(item.value.get("metadata"))}
            print(between + _create(client, item.kind, value, args), end="")
            between = "---\n" if args.output == "yaml" else ""
        except Unavailable:
            raise
        except ApiError as error:
            manifests.fail(item.explain(error))


def without_version(meta: Any) -> Any:
    """The metadata of an object that is made anew from what was printed of it."""
    return {key: value for key, value in meta.items() if key != "resourceVersion"} if isinstance(meta, dict) else meta


def _create(client: Any, kind: kinds.Kind, value: dict[str, Any], args: Any) -> str:
    """Create one object; returns what to print of it. Raises ApiError."""
    from cli.client import manager, opened
    from pinnace.api.v1 import objects_pb2

    body = objects_pb2.Object(apiVersion=kind.api_version, kind=kind.kind, json=json.dumps(value).encode())
    request = objects_pb2.WriteRequest(
        object=body,
        namespace=client.context.namespace,
        fieldManager=args.field_manager or manager("create"),
        dryRun=args.dry_run == "server",
    )
    message = opened(kind, client.call(client.objects.Create, request).protobuf)
    name = f"{kind.qualified}/{message.metadata.name}"
    if args.output in ("", "wide"):
        return f"{name} created{flags.DRY_RUN_SUFFIX[args.dry_run]}\n"
    if args.output == "name":
        return name + "\n"
    return output.structured(args.output, [output.document(kind, message)], single=True)
