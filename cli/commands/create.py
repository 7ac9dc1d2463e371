"""`kctl create`: from files, or from arguments: namespace, configmap, secret, token, and the kinds of `cli.creating`."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from cli import files, flags, output
from cli.commands import createtoken
from cli.main import split
from pinnace import kinds
from pinnace.errors import ApiError, BadRequest, Unavailable


def run(arguments: list[str]) -> int:
    before, word, rest = split(arguments)
    if word == "token":
        return createtoken.run([*before, *rest])
    if (kind := _generated(word)) is not None:
        return _generate(kind, [*before, *rest])
    parser = flags.Parser(
        "create",
        "Create objects: -f FILE, namespace NAME, configmap NAME, secret generic NAME (--from-literal, --from-file), "
        "secret docker-registry NAME (--docker-server, --docker-username, --docker-password), token ACCOUNT, and with flags of "
        "their own (kctl create KIND --help): deployment, job, poddisruptionbudget, quota, priorityclass, role, rolebinding, "
        "clusterrole, clusterrolebinding, serviceaccount NAME",
    )
    parser.add_argument("what", nargs="*", help="namespace NAME | configmap NAME | secret generic|docker-registry NAME")
    flags.add_files(parser)
    parser.add_argument("--from-literal", action="append", default=[], metavar="KEY=VALUE", help="key and value (repeatable)")
    parser.add_argument(
        "--from-file",
        action="append",
        default=[],
        metavar="[KEY=]PATH",
        help="file or directory; KEY defaults to the file name (repeatable)",
    )
    parser.add_argument(
        "--docker-server", default="https://index.docker.io/v1/", help="registry of a pull secret (default: %(default)s)"
    )
    parser.add_argument("--docker-username", default="", help="user name at the registry")
    parser.add_argument("--docker-password", default="", help="password at the registry")
    parser.add_argument("--docker-email", default="", help="email address at the registry")
    _add_writing(parser)
    args = parser.parse_intermixed_args(arguments)
    output.check(args.output)
    if bool(args.what) == bool(args.filename):
        raise BadRequest("specify -f FILE, or namespace|configmap|secret NAME")
    if args.what:
        kind, value = _from_arguments(args)
        print(
            _here([(kind, value)], args) if args.dry_run == "client" else _create(flags.client(args), kind, value, args), end=""
        )
        return 0
    manifests = files.Manifests(args)
    try:
        if args.dry_run == "client":
            print(_here(_checked(manifests), args), end="")
        else:
            _create_all(flags.client(args), manifests, args)
    finally:
        failed = manifests.report()
    return 1 if failed else 0


def _add_writing(parser: flags.Parser) -> None:
    parser.add_argument("--dry-run", nargs="?", const="server", default="none", choices=flags.DRY_RUNS, help=flags.DRY_RUN)
    parser.add_argument("--field-manager", default="", help="owner of the created fields (default: kctl-create)")
    parser.add_argument("-o", "--output", default="", help=output.FORMATS)


def _generated(word: str | None) -> kinds.Kind | None:
    """The kind that a word means, if it is made from flags of its own."""
    if word is None or word.startswith("-"):
        return None
    from cli.creating import generators

    return next((kind for kind in generators.GENERATORS if word.lower() in kind.words), None)


def _generate(kind: kinds.Kind, arguments: list[str]) -> int:
    """Raises ApiError."""
    from cli import carry
    from cli.creating import generators

    generator = generators.GENERATORS[kind]
    parser = flags.Parser(f"create {kind.singular}", generator.text)
    parser.add_argument("name", help=f"name of the {kind.kind}")
    generator.add_flags(parser)
    _add_writing(parser)
    own, command = carry.split_command(arguments)
    args = parser.parse_intermixed_args(own)
    output.check(args.output)
    if args.dry_run == "client":
        print(_here([(kind, _named(generator.build(args, command), args.name))], args), end="")
        return 0
    client = flags.client(args)
    print(_create(client, kind, _named(generator.build(args, command), args.name), args), end="")
    return 0


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


def _from_arguments(args: Any) -> tuple[kinds.Kind, dict[str, Any]]:
    kind = kinds.by_word(args.what[0])
    names = args.what[1:]
    registry = kind is kinds.SECRET and names[:1] == ["docker-registry"]
    if kind is kinds.SECRET:
        if not registry and names[:1] != ["generic"]:
            raise BadRequest("only `create secret generic NAME` and `create secret docker-registry NAME` are supported")
        names = names[1:]
    if kind not in (kinds.NAMESPACE, kinds.CONFIG_MAP, kinds.SECRET) or len(names) != 1:
        raise BadRequest("usage: create namespace NAME | create configmap NAME | create secret generic|docker-registry NAME")
    value: dict[str, Any] = {"metadata": {"name": names[0]}}
    if registry:
        value |= _pull_secret(args)
    elif kind is not kinds.NAMESPACE:
        value |= _data(kind, args)
    return kind, value


def _pull_secret(args: Any) -> dict[str, Any]:
    """From the docker flags, or --from-file=.dockerconfigjson=PATH as it is."""
    kind = "kubernetes.io/dockerconfigjson"
    if args.from_file:
        value = _data(kinds.SECRET, args)
        if set(value["data"]) != {".dockerconfigjson"}:
            raise BadRequest("--from-file must be .dockerconfigjson=PATH for a pull secret")
        return {"type": kind, **value}
    if not args.docker_username or not args.docker_password:
        raise BadRequest("a pull secret needs --docker-username and --docker-password")
    auth = base64.b64encode(f"{args.docker_username}:{args.docker_password}".encode()).decode()
    entry = {"username": args.docker_username, "password": args.docker_password, "auth": auth}
    entry |= {"email": args.docker_email} if args.docker_email else {}
    config = json.dumps({"auths": {args.docker_server: entry}}).encode()
    return {"type": kind, "data": {".dockerconfigjson": base64.b64encode(config).decode()}}


def _data(kind: kinds.Kind, args: Any) -> dict[str, Any]:
    found: dict[str, bytes] = {}
    for item in args.from_literal:
        key, sign, text = item.partition("=")
        if not sign or not key:
            raise BadRequest(f'--from-literal: "{item}" is not KEY=VALUE')
        found[key] = text.encode()
    for item in args.from_file:
        key, sign, name = item.partition("=")
        path = Path(name if sign else item)
        try:
            sources = [entry for entry in sorted(path.iterdir()) if entry.is_file()] if path.is_dir() else [path]
            for source in sources:
                found[key if sign else source.name] = source.read_bytes()
        except OSError as error:
            raise BadRequest(f"{error.filename}: {error.strerror}") from None
    if kind is kinds.SECRET:
        return {"data": {key: base64.b64encode(data).decode() for key, data in found.items()}}
    texts, binary = {}, {}
    for key, data in found.items():
        try:
            texts[key] = data.decode()
        except UnicodeDecodeError:
            binary[key] = base64.b64encode(data).decode()
    return {key: value for key, value in (("data", texts), ("binaryData", binary)) if value}
