"""Who owns the fields of a status: the entries of managedFields with `subresource: status`.

Statuses are written often, mostly by the one manager that owns all of a status or begins to. Its entry follows from the new
status alone, without a comparison of the two as JSON; `ownership.record_update` finds the same for any number of managers.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf.message import Message

from controlplane.requests import managers, messagefields, ownership
from controlplane.requests.fieldsets import LEAF
from controlplane.requests.managers import MAX_MANAGERS, UPDATE, Entry, Owner
from pinnace import schema, schematree, shownfields
from pinnace.kinds import Kind

STATUS = ownership.STATUS


def record(kind: Kind, old: Any, new: Any, *, manager: str, now: float) -> None:
    """Give `manager` what an update of the status changed, and take what it changed or removed from all others. `new` has the
    managedFields of `old`."""
    alone = kind.schema is None and all(
        getattr(old.metadata, name) == getattr(new.metadata, name) for name in ownership.STATUS_META
    )
    fields = _sole_owners(kind, old, new, manager) if alone else None
    if fields is None:
        ownership.record_update(kind, old, new, manager=manager, now=now, subresource=STATUS)
    elif fields != b"{}":
        _replace(kind, new, fields, manager, int(now))


def _sole_owners(kind: Kind, old: Any, new: Any, manager: str) -> bytes | None:
    """The manager's fields afterwards, where no other one owns any of the status; None: they are to be compared."""
    entries = [entry for entry in old.metadata.managedFields if entry.subresource == STATUS]
    if not entries:
        return _first(kind, old, new) if len(old.metadata.managedFields) < MAX_MANAGERS else None
    mine, *others = entries
    if others or not _is_mine(mine, kind, manager) or mine.fieldsV1.Raw != messagefields.owned_below(old, STATUS):
        return None
    fields = messagefields.owned_below(new, STATUS)
    # A shorter text may be that of a removal alone, which leaves the entry's time as it is, as another order of items does.
    if len(fields) < len(mine.fieldsV1.Raw) or (fields == mine.fieldsV1.Raw and _is_reordered(old.status, new.status)):
        return None
    return fields


def _is_reordered(before: Message, after: Message) -> bool:
    """Whether nothing but the order of items differs. Sizes tell most statuses apart."""
    if before.ByteSize() != after.ByteSize():
        return False
    changed = [item for item, value in after.ListFields() if value != getattr(before, item.name)]
    return bool(changed) and all(
        item.is_repeated and sorted(map(repr, getattr(after, item.name))) == sorted(map(repr, getattr(before, item.name)))
        for item in changed
    )


def _first(kind: Kind, old: Any, new: Any) -> bytes | None:
    """Of a status without an owner: what changed; None if a field did not change as a whole, as a list with keys may, or if one
    that is shown when it is zero may be as it was."""
    if old.HasField(STATUS) and _shown(kind):
        return None
    changed = new
    for item, value in old.status.ListFields():
        after = getattr(new.status, item.name)
        if value == after:
            if changed is new:
                changed = type(new)(status=new.status)
            changed.status.ClearField(item.name)
        elif item.name not in _leaves(kind):
            return None
    return messagefields.owned_below(changed, STATUS)


@cache
def _leaves(kind: Kind) -> frozenset[str]:
    """The fields of a built-in kind's status that are owned as a whole."""
    return frozenset(name for name, node in schematree.of_kind(kind).children[STATUS].children.items() if node.leaf)


@cache
def _shown(kind: Kind) -> tuple[str, ...]:
    cls: Any = kind.cls
    return shownfields.of(schema.of(type(cls().status)))


def _is_mine(entry: Any, kind: Kind, manager: str) -> bool:
    return bool((entry.manager, entry.operation, entry.apiVersion) == (manager, UPDATE, kind.api_version))


def _replace(kind: Kind, message: Any, fields: bytes, manager: str, now: int) -> None:
    """Put the only entry of the status in its place in the order of times."""
    entries = message.metadata.managedFields
    for at in reversed([at for at, entry in enumerate(entries) if entry.subresource == STATUS]):
        del entries[at]
    me = Owner(manager, UPDATE, kind.api_version, STATUS)
    last = entries[-1] if entries else None
    managers.store(message, me, Entry(LEAF, kind.api_version, now, fields))
    if last is not None and last.operation == UPDATE and last.time.seconds >= now:
        managers.record(message, managers.owners_of(message), latest=me)
