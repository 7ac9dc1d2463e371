"""The entries of metadata.managedFields: one for each manager, operation, version and subresource.

What they mean is `ownership`'s; this is how they are read and stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from controlplane.requests import fieldsets
from controlplane.requests.fieldsets import FieldSet

APPLY, UPDATE = "Apply", "Update"
# Beyond so many Update managers the oldest entries are dropped (Kubernetes merges them into one).
MAX_MANAGERS = 10


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
        version = "" if entry.operation == APPLY else entry.apiVersion
        owner = Owner(entry.manager, entry.operation, version, entry.subresource)
        yield owner, Entry(fieldsets.from_fields_v1(raw), entry.apiVersion, entry.time.seconds, raw)


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
