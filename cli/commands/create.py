"""`kctl create`: from files, or a namespace, configmap or secret from arguments."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from cli import files, flags, output
from cli.complaints import complain
from pinnace import kinds
from pinnace.errors import ApiError, BadRequest


def run(arguments: list[str]) -> int:
    parser = flags.Parser(
        "create",
        "Create objects: -f FILE, namespace NAME, configmap NAME, secret generic NAME (--from-literal, --from-file), "
        "secret docker-registry NAME (--docker-server, --docker-username, --docker-password)",
    )
    parser.add_argument("what", nargs="*", help="namespace NAME | configmap NAME | secret generic|docker-registry NAME")
    flags.add_files(parser)
    parser.add_argument("--from-literal", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--from-file", action="append", default=[], metavar="[KEY=]PATH")
    parser.add_argument("--docker-server", default="https://index.docker.io/v1/", help="default: %(default)s")
    parser.add_argument("--docker-username", default="")
    parser.add_argument("--docker-password", default="")
    parser.add_argument("--docker-email", default="")
    parser.add_argument("--dry-run", nargs="?", const="server", default="none", choices=("none", "client", "server"))
    parser.add_argument("-o", "--output", default="", help=output.FORMATS)
    args = parser.parse_intermixed_args(arguments)
    output.check(args.output)
    if bool(args.what) == bool(args.filename):
        raise BadRequest("say what to create, or where it is written: create namespace NAME, or create -f FILE")
    if args.what:
        pairs = [_from_arguments(args)]
    else:
        pairs = [(item.kind, item.value) for item in files.load(args.filename, recursive=args.recursive)]
    if args.dry_run == "client":
        documents = [{"apiVersion": kind.api_version, "kind": kind.kind, **value} for kind, value in pairs]
        print(output.structured(args.output or "yaml", documents, single=len(documents) == 1))
        return 0
    return _create(flags.client(args), pairs, args)


def _create(client: Any, pairs: list[tuple[kinds.Kind, dict[str, Any]]], args: Any) -> int:
    from pinnace.api.v1 import objects_pb2

    failed = 0
    for kind, value in pairs:
        body = objects_pb2.Object(apiVersion=kind.api_version, kind=kind.kind, json=json.dumps(value).encode())
        request = objects_pb2.WriteRequest(
            object=body, namespace=client.context.namespace, fieldManager="kctl-create", dryRun=args.dry_run == "server"
        )
        try:
            found = client.call(client.objects.Create, request)
        except ApiError as error:
            failed += 1
            complain(error)
            continue
        message: Any = kind.cls.FromString(found.protobuf)
        if args.output in ("", "wide"):
            print(f"{kind.singular}/{message.metadata.name} created" + (" (server dry run)" if request.dryRun else ""))
        elif args.output == "name":
            print(f"{kind.singular}/{message.metadata.name}")
        else:
            print(output.structured(args.output, [output.document(kind, message)], single=True))
    return 1 if failed else 0


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
