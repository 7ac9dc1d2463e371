"""`kctl diff`: what `kctl apply` would change, as the server sees it.

The exit code is 0 without differences, 1 with some, and greater after an error, as diff's own.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from cli import comparing, files, flags, output
from cli.commands import apply
from cli.complaints import complain
from pinnace import wire
from pinnace.errors import ApiError, NotFound

ERROR = 2


def run(arguments: list[str]) -> int:
    parser = flags.Parser("diff", "Show the changes that kctl apply would make: kctl diff -f FILE")
    flags.add_files(parser)
    parser.add_argument("--force-conflicts", action="store_true", help="take ownership of fields from other managers")
    parser.add_argument("--field-manager", default="kctl", help="owner of the applied fields (default: %(default)s)")
    parser.add_argument("--show-managed-fields", action="store_true", help="compare managedFields, too")
    parser.add_argument(
        "--server-side", action="store_true", default=True, help="accepted for kubectl scripts: kctl diff is always server-side"
    )
    args = parser.parse_args(arguments)
    args.dry_run = "server"
    try:
        manifests = files.Manifests(args)
        return _diff(flags.client(args), manifests, args)
    except ApiError as error:
        complain(error)
        return ERROR


def _diff(client: Any, manifests: files.Manifests, args: Any) -> int:
    """Raises ApiError."""
    with tempfile.TemporaryDirectory(prefix="kctl-diff-") as name:
        directory = Path(name)
        for version in ("LIVE", "MERGED"):
            (directory / version).mkdir()
        try:
            for item in manifests:
                _write(client, directory, item, manifests, args)
        finally:
            failed = manifests.report()
        code = comparing.run(comparing.command(os.environ), directory)
    return max(code, ERROR) if failed else code


def _write(client: Any, directory: Path, item: files.Item, manifests: files.Manifests, args: Any) -> None:
    """Both forms of an object into the directories. Raises ApiError when the server cannot be used."""
    from cli.client import opened
    from pinnace.api.v1 import objects_pb2

    try:
        found = client.get(item.kind, item.namespace or client.context.namespace, item.name)
        live = output.document(item.kind, found, managed=args.show_managed_fields)
    except NotFound:
        live = None
    [result] = apply.results(client, [item], args)
    if result.outcome == objects_pb2.ApplyResult.FAILED:
        manifests.fail(item.explain(wire.from_status(result.error)))
        return
    merged = output.document(item.kind, opened(item.kind, result.object.protobuf), managed=args.show_managed_fields)
    comparing.write(directory, item.kind, live, merged)
