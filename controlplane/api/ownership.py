"""Who owns which field: server-side apply and its bookkeeping in metadata.managedFields.

Source: KEP-555, server-side apply.
"""

from __future__ import annotations

from typing import Any

from controlplane.api import fieldsets
from controlplane.api.fieldsets import Path
from pinnace import codec, schema
from pinnace.errors import Cause, Conflict
from pinnace.kinds import Kind

APPLY, UPDATE = "Apply", "Update"
# Beyond this many Update managers the oldest are forgotten (as Kubernetes merges them).
MAX_MANAGERS = 10


def apply(kind: Kind, live: Any, applied: dict[str, Any], *, manager: str, force: bool, now: float) -> Any:
    """`live` as it is once `manager` has applied its whole opinion. Raises Conflict and codec.FieldError."""
    spec = schema.of(kind.cls)
    current = codec.encode(live)
    current.get("metadata", {}).pop("managedFields", None)
    wanted = fieldsets.leaves(spec, applied)
    # Compared as the server writes it: `cpu: 1` is no other opinion than `cpu: "1"`.
    canonical = fieldsets.leaves(spec, codec.encode(codec.decode(kind.cls, applied)))
    wanted |= {path: value for path, value in canonical.items() if path in wanted}
    owners = _owners(live)
    mine = owners.pop((manager, APPLY), set())
    _settle_conflicts(kind, wanted, fieldsets.leaves(spec, current), owners, force=force)
    abandoned = mine - wanted.keys() - set().union(*owners.values())
    merged = fieldsets.merge(spec, current, applied)
    fieldsets.remove(spec, merged, abandoned)
    result = codec.decode(kind.cls, merged)
    owners[(manager, APPLY)] = set(wanted)
    _record(kind, live, result, owners, changed=(manager, APPLY), now=now)
    return result


def _settle_conflicts(
    kind: Kind,
    wanted: dict[Path, Any],
    current: dict[Path, Any],
    owners: dict[tuple[str, str], set[Path]],
    *,
    force: bool,
) -> None:
    causes = []
    for (manager, operation), paths in owners.items():
        # What is zero is absent from the live object, though somebody may own it.
        disputed = {path for path in paths & wanted.keys() if (current.get(path) or None) != (wanted[path] or None)}
        if force:
            paths -= disputed
        for path in sorted(disputed):
            using = f'conflict with "{manager}"' + (" using " + kind.api_version if operation == UPDATE else "")
            causes.append(Cause("." + fieldsets.readable(path), using, "FieldManagerConflict"))
    if causes and not force:
        listed = "; ".join(f"{cause.message}: {cause.field}" for cause in causes)
        plural = "s" if len(causes) > 1 else ""
        raise Conflict(f"Apply failed with {len(causes)} conflict{plural}: {listed}", causes=tuple(causes))


def record_update(kind: Kind, old: Any | None, new: Any, *, manager: str, now: float) -> None:
    """Book what a create or an update changed to `manager`."""
    spec = schema.of(kind.cls)
    # Never the caller's to say, and in a protobuf body perhaps not even JSON.
    del new.metadata.managedFields[:]
    before = fieldsets.leaves(spec, codec.encode(old)) if old is not None else {}
    after = fieldsets.leaves(spec, codec.encode(new))
    changed = {path for path, value in after.items() if path not in before or before[path] != value}
    owners = _owners(old) if old is not None else {}
    for paths in owners.values():
        paths &= after.keys()
        paths -= changed
    if changed:
        owners[(manager, UPDATE)] = owners.get((manager, UPDATE), set()) | changed
    _record(kind, old, new, owners, changed=(manager, UPDATE) if changed else None, now=now)


def _owners(message: Any) -> dict[tuple[str, str], set[Path]]:
    return {
        (entry.manager, entry.operation): fieldsets.from_fields_v1(entry.fieldsV1.Raw)
        for entry in message.metadata.managedFields
    }


def _record(
    kind: Kind,
    old: Any | None,
    new: Any,
    owners: dict[tuple[str, str], set[Path]],
    *,
    changed: tuple[str, str] | None,
    now: float,
) -> None:
    times = {(e.manager, e.operation): e.time.seconds for e in old.metadata.managedFields} if old is not None else {}
    before = _owners(old) if old is not None else {}
    del new.metadata.managedFields[:]
    updates = sorted(
        (owner for owner in owners if owner[1] == UPDATE and owners[owner]),
        key=lambda owner: (owner == changed, times.get(owner, 0), owner),
    )
    forgotten = set(updates[:-MAX_MANAGERS])
    for owner, paths in sorted(owners.items()):
        if not paths or owner in forgotten:
            continue
        fresh = owner == changed and before.get(owner) != paths
        entry = new.metadata.managedFields.add(
            manager=owner[0], operation=owner[1], apiVersion=kind.api_version, fieldsType="FieldsV1"
        )
        entry.time.seconds = int(now) if fresh or owner not in times else times[owner]
        entry.fieldsV1.Raw = fieldsets.to_fields_v1(paths)
