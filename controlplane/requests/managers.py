"""The entries of metadata.managedFields: one for each manager, operation, version and subresource.

What they mean is `ownership`'s; this is how they are read and stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized
from dataclasses import dataclass
from typing import Any, NamedTuple

from controlplane.requests import fieldsets
from controlplane.requests.fieldsets import FieldSet
from pinnace.errors import Cause, Invalid, TooLarge
from pinnace.kinds import Kind

APPLY, UPDATE = "Apply", "Update"
# Beyond so many Update managers the oldest entries are dropped (Kubernetes merges them into one).
MAX_MANAGERS = 10
# Characters of a manager's and of a subresource's name, as in Kubernetes.
MAX_MANAGER, MAX_SUBRESOURCE = 128, 256
# Entries that a client brings, and their fields for each value that an object may have: several managers may own all of it.
MAX_ENTRIES, MAX_FIELDS_PER_VALUE = 1000, 4


class Owner(NamedTuple):
    """What tells one entry of managedFields from another.

    `version` is empty for an applier, which has one entry whatever version it applies."""

    manager: str
    operation: str
    version: str
    subresource: str


@dataclass(slots=True)
class Entry:
    """One manager's fields; `time` in seconds since the epoch, `raw` as they are stored, if they are."""

    fields: FieldSet
    version: str
    time: int
    raw: bytes = b""


Owners = dict[Owner, Entry]


def owners_of(message: Any) -> Owners:
    """Raises ValueError for a stored set that is none."""
    return dict(_read(message))


def _read(message: Any) -> Iterator[tuple[Owner, Entry]]:
    for entry in message.metadata.managedFields:
        raw = entry.fieldsV1.Raw
        yield _owner(entry), Entry(fieldsets.from_fields_v1(raw), entry.apiVersion, entry.time.seconds, raw)


def record(message: Any, owners: Owners, *, latest: Owner) -> None:
    """Write `owners` into managedFields, those without a field and the oldest updaters left out."""
    owning = {owner: entry for owner, entry in owners.items() if entry.fields}
    updaters = [owner for owner in owning if owner.operation == UPDATE]
    if len(updaters) > MAX_MANAGERS:
        updaters.sort(key=lambda owner: (owner == latest, owning[owner].time, owner))
        for owner in updaters[:-MAX_MANAGERS]:
            del owning[owner]
    del message.metadata.managedFields[:]
    # As kube-apiserver orders them: appliers first, then by time.
    for owner, entry in sorted(owning.items(), key=lambda item: (item[0].operation, item[1].time, item[0])):
        store(message, owner, entry)


def store(message: Any, owner: Owner, entry: Entry) -> None:
    """Add one entry."""
    stored = message.metadata.managedFields.add(
        manager=owner.manager, operation=owner.operation, apiVersion=entry.version, fieldsType="FieldsV1",
        subresource=owner.subresource,
    )  # fmt: skip
    stored.time.seconds = entry.time
    stored.fieldsV1.Raw = entry.raw or fieldsets.to_fields_v1(entry.fields)


def stated(kind: Kind, old: Any, new: Any, *, now: float) -> Owners | None:
    """The entries of a client's object that replace the stored ones, as when a program passes on what another one owned.

    None where the object brings none, the stored ones, or one that cannot be read: then the stored ones stay. A single empty
    entry resets them. Raises Invalid, TooLarge. Source: decodeLiveOrNew of apimachinery's managedfields.
    """
    entries = new.metadata.managedFields
    if not entries or entries == old.metadata.managedFields:
        return None
    if len(entries) == 1 and not entries[0].ByteSize():
        return {}
    check_count(kind, entries)
    most = MAX_FIELDS_PER_VALUE * kind.most_values
    if sum(entry.fieldsV1.Raw.count(b"{") for entry in entries) > most:
        raise TooLarge(f"the managedFields of the {kind.kind} have more than {most} fields")
    try:
        owners = {_owner(entry): _stated_entry(entry, now) for entry in entries}
    except ValueError:
        return None
    _check_names(kind.group_kind, new.metadata.name, entries)
    return None if owners == _unread(old) else owners


def check_count(kind: Kind, entries: Sized) -> None:
    """Raises TooLarge for more entries than a client may bring."""
    if len(entries) > MAX_ENTRIES:
        raise TooLarge(f"the {kind.kind} has more than {MAX_ENTRIES} entries in metadata.managedFields")


def _owner(entry: Any) -> Owner:
    return Owner(entry.manager, entry.operation, "" if entry.operation == APPLY else entry.apiVersion, entry.subresource)


def _stated_entry(entry: Any, now: float) -> Entry:
    """Raises ValueError."""
    if entry.operation not in (APPLY, UPDATE) or entry.fieldsType != "FieldsV1":
        raise ValueError("an entry of managedFields has an operation and a type of fields")
    return Entry(fieldsets.from_client(entry.fieldsV1.Raw), entry.apiVersion, entry.time.seconds or int(now))


def _unread(message: Any) -> Owners:
    """The stored entries without the text of their fields."""
    return {owner: Entry(entry.fields, entry.version, entry.time) for owner, entry in _read(message)}


def _check_names(kind: str, name: str, entries: Any) -> None:
    """Raises Invalid."""
    causes = [
        Cause(f"metadata.managedFields[{at}].{field}", f"Too long: may not be more than {most} characters", "FieldValueTooLong")
        for at, entry in enumerate(entries)
        for field, most in (("manager", MAX_MANAGER), ("subresource", MAX_SUBRESOURCE))
        if len(getattr(entry, field)) > most
    ]
    causes += [
        Cause(f"metadata.managedFields[{at}].manager", "Invalid value: should be printable")
        for at, entry in enumerate(entries)
        if not entry.manager.isprintable()
    ]
    if causes:
        raise Invalid.of(kind, name, tuple(causes))
