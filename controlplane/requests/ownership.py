"""Who owns which field: server-side apply and its bookkeeping in metadata.managedFields.

The rules are structured-merge-diff's (merge/update.go): an apply conflicts where it changes a field that another manager owns;
a change or a removal takes a field from all its owners; what an applier no longer applies is removed unless another owns it.
Source: KEP-555, server-side apply.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from controlplane.requests import applying, conflicts, fieldsets, fieldwalk, messagefields
from controlplane.requests.fieldsets import LEAF, SELF, FieldSet
from controlplane.requests.fieldwalk import Comparison, JsonObject
from controlplane.requests.managers import APPLY, UPDATE, Entry, Owner, Owners, owners_of, record, store
from pinnace import codec, schema, schematree
from pinnace.errors import Cause, Invalid
from pinnace.kinds import Kind
from pinnace.messages import clone
from pinnace.schema import Field, Schema
from pinnace.schematree import Misfit

STATUS = "status"
# Metadata that a write of the status may change.
STATUS_META = ("labels", "annotations")
# Errors that one applied object is answered with.
MAX_MISFITS = 100
# Identity and fields that only the server writes have no owner.
UNOWNED_META = frozenset((
    "name", "namespace", "generateName", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink",
))  # fmt: skip
_UNOWNED_BUT_NAME = UNOWNED_META - {"name"}
_UNOWNED = frozenset(("apiVersion", "kind"))
# Of an object of a built-in kind, whose status has an address of its own.
_UNOWNED_FIELDS = _UNOWNED | {STATUS}
# An object keeps its metadata, also when no manager owns a part of it.
_KEPT: FieldSet = {"f:metadata": {SELF: LEAF}}


def apply(
    kind: Kind,
    live: Any,
    applied: dict[str, Any],
    *,
    manager: str,
    force: bool,
    now: float,
    superseded: frozenset[str] = frozenset(),
    subresource: str = "",
) -> Any:
    """`live` after `manager` has applied all that it wants to own.

    Applied fields that a superseded manager wrote by an update change hands without a conflict; its other fields stay its own.
    Raises Conflict and codec.FieldError."""
    root = schematree.of_kind(kind)
    applied = _owned_part(kind, applied, subresource)
    if kind.schema is not None:
        _check_form(kind, live.metadata.name, applied)
    message = _bare(live)
    others = [name for name in _parts(live) if name != STATUS] if subresource == STATUS else _apart(kind)
    current = _fitting(kind, _mergeable(message, others))
    wanted = fieldwalk.owned(root, applied)
    if subresource not in ("", STATUS):
        # The part has no items of its own: it is about fields of those that are there.
        wanted = fieldsets.without_items(wanted)
    owners = owners_of(live)
    me = Owner(manager, APPLY, "", subresource)
    mine = owners.pop(me, None)
    _supersede(owners, superseded, subresource, wanted)
    result = applying.merge(root, current, applied)
    if mine is not None and mine.fields != wanted:
        result = applying.prune(root, result, mine.fields, _union([wanted, *(entry.fields for entry in owners.values())]))
    change = fieldwalk.compare(root, current, result)
    conflicts.check(change, owners, force=force)
    _dispossess(owners, change)
    if mine is None or mine.fields != wanted:
        mine = Entry(wanted, kind.api_version, int(now))
    elif change:
        mine = Entry(mine.fields, kind.api_version, int(now), mine.raw)
    owners[me] = mine
    # Also for another order of items, which is no change of any field.
    if result is not current:
        _replace(schema.of(kind.cls), message, current, result)
    record(message, owners, latest=me)
    return message


def _mergeable(message: Any, others: Collection[str]) -> dict[str, Any]:
    """An object in JSON form without the fields in `others`, and of its metadata the name and what an applier may own."""
    value = codec.encode(message, without=(*others, "metadata"))
    if "metadata" not in others:
        # The name, so that there is some metadata: it is replaced field by field then.
        value["metadata"] = codec.encode(message.metadata, without=_UNOWNED_BUT_NAME)
    return value


def first_apply(kind: Kind, created: Any, applied: dict[str, Any], *, manager: str, now: float) -> None:
    """Give the creator by apply what it said, not what defaulting added."""
    fields = fieldwalk.owned(schematree.of_kind(kind), _owned_part(kind, applied, ""))
    me = Owner(manager, APPLY, "", "")
    record(created, {me: Entry(fields, kind.api_version, int(now))}, latest=me)


def record_create(kind: Kind, new: Any, written: Any, *, manager: str, now: float) -> None:
    """Give `manager` what it has written of a new object, with the defaults. What admission plugins added has no owner, so that
    no apply of what the creator wrote removes it."""
    # Those of a new object do not count.
    del new.metadata.managedFields[:]
    fields = created_fields(kind, written)
    if fields != b"{}":
        store(new, Owner(manager, UPDATE, kind.api_version, ""), Entry(LEAF, kind.api_version, int(now), fields))


def record_update(
    kind: Kind, old: Any, new: Any, *, manager: str, now: float, subresource: str = "", owners: Owners | None = None
) -> None:
    """Give `manager` what an update changed, and take what it changed or removed from everyone else.

    `owners`: those that the caller states in place of the ones of `old`."""
    del new.metadata.managedFields[:]
    me = Owner(manager, UPDATE, kind.api_version, subresource)
    change = _changes(kind, old, new, subresource)
    owners = owners_of(old) if owners is None else owners
    if change:
        _dispossess(owners, change)
    if change.changed:
        before = owners[me].fields if me in owners else LEAF
        owners[me] = Entry(fieldsets.union(before, change.changed), kind.api_version, int(now))
    record(new, owners, latest=me)


def created_fields(kind: Kind, new: Any) -> bytes:
    """The FieldsV1 of the creator of an object: every field but those that only the server writes."""
    if kind.schema is None:
        return messagefields.owned(new, _UNOWNED_FIELDS, UNOWNED_META)
    value = _owned_part(kind, codec.encode(new, without=_apart(kind)), "")
    return fieldsets.to_fields_v1(fieldwalk.owned(schematree.of_kind(kind), value))


def _changes(kind: Kind, old: Any, new: Any, subresource: str) -> Comparison:
    root = schematree.of_kind(kind)
    # Equal parts are found in C; only the others are encoded.
    old = _bare(old)
    same = [name for name in _parts(new) if getattr(old, name) == getattr(new, name)]
    before, after = (codec.encode(message, without=same) for message in (old, new))
    before = _fitting(kind, before)
    before, after = (_owned_part(kind, value, subresource) | _status_meta(value, subresource) for value in (before, after))
    return fieldwalk.compare(root, before, after)


def _fitting(kind: Kind, value: dict[str, Any]) -> dict[str, Any]:
    """A stored object as its present schema has it: the schema of a custom kind may have changed since."""
    fitting: dict[str, Any] = value if kind.schema is None else schematree.fitting(kind.schema.tree, value)
    return fitting


def _check_form(kind: Kind, name: str, applied: dict[str, Any]) -> None:
    """Raises Invalid for a field that the schema does not have, and for a value that is no object or list where it has one.

    A merge along the schema would leave such a field out without an error."""
    misfits: list[Misfit] = []
    schematree.fitting(schematree.of_kind(kind), applied, "", misfits)
    if misfits:
        raise Invalid.of(kind.group_kind, name, tuple(Cause(path, text) for path, text in misfits[:MAX_MISFITS]))


def _apart(kind: Kind) -> tuple[str, ...]:
    """The fields that are written through a subresource of their own."""
    return (STATUS,) if kind.schema is None or kind.schema.has_status else ()


def _owned_part(kind: Kind, value: dict[str, Any], subresource: str) -> dict[str, Any]:
    """The part of an object in JSON form that a write through `subresource` can own."""
    if subresource == STATUS:
        return {STATUS: value[STATUS]} if value.get(STATUS) else {}
    unowned = {*_UNOWNED, *_apart(kind)}
    out = {key: item for key, item in value.items() if key not in unowned}
    meta = {key: item for key, item in (value.get("metadata") or {}).items() if key not in UNOWNED_META}
    if meta:
        out["metadata"] = meta
    else:
        out.pop("metadata", None)
    return out


def _status_meta(value: dict[str, Any], subresource: str) -> dict[str, Any]:
    """The metadata that an update of the status may write as well."""
    meta = value.get("metadata") or {}
    found = {name: meta[name] for name in STATUS_META if meta.get(name)}
    return {"metadata": found} if found and subresource == STATUS else {}


def _union(sets: list[FieldSet]) -> FieldSet:
    out = _KEPT
    for fields in sets:
        out = fieldsets.union(out, fields)
    return out


def _supersede(owners: Owners, superseded: frozenset[str], subresource: str, wanted: FieldSet) -> None:
    for owner, entry in owners.items():
        if owner.manager in superseded and owner.operation == UPDATE and owner.subresource == subresource:
            owners[owner] = _less(entry, fieldsets.difference(entry.fields, wanted, deep=False))


def _dispossess(owners: Owners, change: Comparison) -> None:
    """No manager owns what a change wrote or removed; its manager gets it afterwards."""
    for owner, entry in owners.items():
        fields = fieldsets.difference(entry.fields, change.changed) if change.changed else entry.fields
        owners[owner] = _less(entry, fieldsets.difference(fields, change.removed) if change.removed else fields)


def _less(entry: Entry, fields: FieldSet) -> Entry:
    return entry if fields is entry.fields else Entry(fields, entry.version, entry.time)


def _replace(spec: Schema, message: Any, before: JsonObject, after: JsonObject) -> None:
    """Decode into `message` what differs by identity. Raises codec.FieldError."""
    part: dict[str, Any] = {}
    shared = False
    for key in {**before, **after}:
        if before.get(key) is after.get(key):
            continue
        item = spec.fields.get(key)
        if item is None or item.inline:
            shared = True
        elif key not in after:
            message.ClearField(key)
        elif not _descend(item, message, before, after):
            message.ClearField(key)
            part[key] = after[key]
    if shared:
        # Keys that are no field of the message share one of its fields.
        part |= {key: item for key, item in after.items() if key not in spec.fields or spec.fields[key].inline}
        for name, item in spec.fields.items():
            if item.inline:
                message.ClearField(name)
    if part:
        codec.merge(message, part)


def _descend(item: Field, message: Any, before: JsonObject, after: JsonObject) -> bool:
    """Replace within a message that was there and stays, or within those of a list of as many; False for any other field."""
    old, new = before.get(item.name), after[item.name]
    if item.message is None or item.map or not old or not new or (item.repeated and len(old) != len(new)):
        return False
    value = getattr(message, item.name)
    for there, one, other in zip(value, old, new, strict=True) if item.repeated else ((value, old, new),):
        if one is not other:
            _replace(item.message, there, one, other)
    return True


def _parts(message: Any) -> list[str]:
    """The fields of the message, which are those of the JSON unless one of them holds the rest of it."""
    return list(message.DESCRIPTOR.fields_by_name)


def _bare(message: Any) -> Any:
    """A copy without managedFields."""
    copy = clone(message)
    del copy.metadata.managedFields[:]
    return copy
