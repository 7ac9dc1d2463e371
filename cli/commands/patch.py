"""`kctl patch`: change some fields of an object."""

from __future__ import annotations

import json
from typing import Any

from cli import flags, output, reading
from cli.complaints import complain
from pinnace.errors import ApiError, BadRequest, Unavailable

MAX_BYTES = 3 << 20


def run(arguments: list[str]) -> int:
    parser = flags.Parser("patch", "Change some fields of objects: kctl patch pod web -p '{\"metadata\": {...}}'")
    parser.add_argument("what", nargs="*", help="TYPE NAME..., or TYPE/NAME...")
    parser.add_argument("-p", "--patch", default="", help="patch in JSON or YAML")
    parser.add_argument("--field-manager", default="", help="owner of the changed fields (default: kctl-patch)")
    parser.add_argument("--patch-file", default="", help="file that contains the patch")
    parser.add_argument(
        "--type", default="strategic", choices=("strategic", "merge", "json"), help="patch type (default: %(default)s)"
    )
    parser.add_argument(
        "--subresource",
        default="",
        choices=("", "ephemeralcontainers", "resize", "scale", "status"),
        help="patch this part of the object",
    )
    parser.add_argument("--dry-run", nargs="?", const="server", default="none", choices=flags.DRY_RUNS, help=flags.DRY_RUN)
    parser.add_argument(
        "-o", "--output", default="", choices=("", "name", "json", "yaml"), help="name, json or yaml (default: one line)"
    )
    args = parser.parse_intermixed_args(arguments)
    client = flags.client(args)
    targets = flags.targets(args.what)
    if not targets or not all(name for _, name in targets):
        raise BadRequest("specify TYPE NAME or TYPE/NAME: kctl patch pod web -p PATCH")
    patch = _patch(args)
    failed = 0
    for kind, name in targets:
        try:
            before = client.get(kind, client.context.namespace, name, subresource=args.subresource)
            after = _send(client, kind, name, patch, args)
        except Unavailable:
            raise
        except ApiError as error:
            failed += 1
            complain(error)
            continue
        _show(kind, after, args, changed=before != after)
    return 1 if failed else 0


def _patch(args: Any) -> bytes:
    """JSON, whatever it was written in. Raises BadRequest, Invalid."""
    if bool(args.patch) == bool(args.patch_file):
        raise BadRequest("specify one of -p PATCH and --patch-file FILE")
    data = (args.patch or reading.text(args.patch_file, limit=MAX_BYTES)).encode()
    if len(data) > MAX_BYTES:
        raise BadRequest(f"the patch is larger than {MAX_BYTES >> 20} MiB")
    from pinnace import manifest

    documents = manifest.load(data, args.patch_file or "patch")
    if len(documents) != 1:
        raise BadRequest("the patch must be one document")
    return json.dumps(documents[0].value).encode()


def _send(client: Any, kind: Any, name: str, patch: bytes, args: Any) -> Any:
    from cli.client import form, manager, opened, ref
    from pinnace.api.v1 import objects_pb2

    request = objects_pb2.PatchRequest(
        ref=ref(kind, client.context.namespace, name), type=args.type.upper(), patch=patch,
        fieldManager=args.field_manager or manager("patch"), dryRun=args.dry_run != "none", subresource=args.subresource,
    )  # fmt: skip
    return opened(form(kind, args.subresource), client.call(client.objects.Patch, request).protobuf)


def _show(kind: Any, item: Any, args: Any, *, changed: bool) -> None:
    word = f"{kind.qualified}/{item.metadata.name}"
    if args.output == "name":
        print(word)
    elif args.output:
        from cli.client import form

        document = output.document(form(kind, args.subresource), item)
        print(output.to_json(document) if args.output == "json" else output.to_yaml(document))
    else:
        suffix = flags.DRY_RUN_SUFFIX[args.dry_run]
        print(f"{word} patched{suffix}" if changed else f"{word} patched (no change){suffix}")
