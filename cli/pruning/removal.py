"""Pruned objects: found, deleted and printed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cli import flags
from cli.changing import word_of
from cli.complaints import report
from pinnace.errors import ApiError, NotFound
from pinnace.kinds import Kind


@dataclass(frozen=True, slots=True)
class Applied:
    """An object that an apply has written."""

    kind: Kind
    namespace: str
    uid: str


def members(client: Any, kind: Kind, namespace: str, selector: str, applied: Iterable[Applied]) -> list[Any]:
    """Objects with these labels that were not applied just now. Raises ApiError."""
    kept = {item.uid for item in applied}
    return [item for item in client.list(kind, namespace, labels=selector) if item.metadata.uid not in kept]


def remove(client: Any, kind: Kind, item: Any, args: Any) -> None:
    """Delete an object as --dry-run allows. One that was deleted meanwhile is not printed. Raises ApiError."""
    from cli.client import ref
    from pinnace.api.v1 import objects_pb2

    request = objects_pb2.DeleteRequest(
        ref=ref(kind, item.metadata.namespace, item.metadata.name), uid=item.metadata.uid,
        propagationPolicy="Background", dryRun=args.dry_run != "none",
    )  # fmt: skip
    try:
        client.call(client.objects.Delete, request)
    except NotFound:
        return
    except ApiError as error:
        where = f"{item.metadata.namespace}/" if kind.namespaced else ""
        raise type(error)(f"pruning {kind.group_kind} {where}{item.metadata.name}: {error.message}") from None
    _show(word_of(kind, item.metadata.name), args)


def _show(word: str, args: Any) -> None:
    done = f"{word} pruned{flags.DRY_RUN_SUFFIX[args.dry_run]}"
    if args.output in ("", "wide"):
        print(done, flush=True)
    elif args.output == "name":
        print(word, flush=True)
    else:
        # Standard output is the document of the applied objects.
        report(done)
