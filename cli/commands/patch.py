"""`kctl patch`: change some fields of an object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cli import flags, output
from cli.complaints import complain
from pinnace.errors import BadRequest, NotFound

MAX_BYTES = 3 << 20


def run(arguments: list[str]) -> int:
    parser = flags.Parser("patch", "Change some fields of objects: kctl patch pod web -p '{\"metadata\": {...}}'")
    parser.add_argument("what", nargs="*", help="kind name..., or kind/name...")
    parser.add_argument("-p", "--patch", default="", help="the patch, as JSON or YAML")
    parser.add_argument("--patch-file", default="", help="a file with the patch")
    parser.add_argument("--type", default="strategic", choices=("strategic", "merge", "json"), help="default: %(default)s")
    parser.add_argument("--subresource", default="", choices=("", "status"), help="what to patch instead of the object itself")
    parser.add_argument("--dry-run", nargs="?", const="server", default="none", choices=("none", "server"))
    parser.add_argument("-o", "--output", default="", choices=("", "name", "json", "yaml"))
    args = parser.parse_intermixed_args(arguments)
    targets = flags.targets(args.what)
    if not targets or not all(name for _, name in targets):
        raise BadRequest("name the objects to patch: kctl patch pod web -p PATCH")
    patch = _patch(args)
    client = flags.client(args)
    failed = 0
    for kind, name in targets:
        try:
            before = client.get(kind, client.context.namespace, name)
            after = _send(client, kind, name, patch, args)
        except NotFound as error:
            failed += 1
            complain(error)
            continue
        _show(kind, after, args, changed=before != after)
    return 1 if failed else 0


def _patch(args: Any) -> bytes:
    """JSON, whatever it was written in. Raises BadRequest, Invalid."""
    if bool(args.patch) == bool(args.patch_file):
        raise BadRequest("say what to change with one of -p PATCH and --patch-file FILE")
    if args.patch:
        data = args.patch.encode()
    else:
        try:
            data = Path(args.patch_file).read_bytes()
        except OSError as error:
            raise BadRequest(f"{args.patch_file}: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise BadRequest(f"the patch is larger than {MAX_BYTES >> 20} MiB")
    from pinnace import manifest

    documents = manifest.load(data, args.patch_file or "patch")
    if len(documents) != 1:
        raise BadRequest("the patch must be one document")
    return json.dumps(documents[0].value).encode()


def _send(client: Any, kind: Any, name: str, patch: bytes, args: Any) -> Any:
    from cli.client import MANAGER, ref
    from pinnace.api.v1 import objects_pb2

    request = objects_pb2.PatchRequest(
        ref=ref(kind, client.context.namespace, name), type=args.type.upper(), patch=patch,
        fieldManager=f"{MANAGER}-patch", dryRun=args.dry_run != "none", subresource=args.subresource,
    )  # fmt: skip
    return kind.cls.FromString(client.call(client.objects.Patch, request).protobuf)


def _show(kind: Any, item: Any, args: Any, *, changed: bool) -> None:
    word = f"{kind.resource.replace(kind.plural, kind.singular, 1)}/{item.metadata.name}"
    if args.output == "name":
        print(word)
    elif args.output:
        document = output.document(kind, item)
        print(json.dumps(document, indent=4) if args.output == "json" else output.to_yaml(document).rstrip("\n"))
    else:
        suffix = " (server dry run)" if args.dry_run != "none" else ""
        print(f"{word} patched{suffix}" if changed else f"{word} patched (no change){suffix}")
