"""Records of the timeline, made from events of the store and from attempts of the scheduler. Pure.

One event is one record. An object that tells what happened to another one (an Event) is a record of that other object.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

from controlplane.resources.registry import Registry
from controlplane.resources.resource import Happening
from controlplane.store import Event
from controlplane.store.origin import Origin
from controlplane.timeline import diff
from controlplane.timeline.diff import Changes
from pinnace.kinds import Kind
from pinnace.wellknown import DEFAULT_NAMESPACE

# Characters of an event's or an attempt's message, and owners of one object that are followed.
MAX_MESSAGE, MAX_OWNERS = 1024, 8


class Type(IntEnum):
    """What a record tells. The numbers are stored, and those of `TimelineRecord.Type` on the wire."""

    CREATED = 1
    # Desired state or metadata changed.
    CHANGED = 2
    # Nothing but the status changed.
    STATUS = 3
    DELETED = 4
    EVENT = 5
    ATTEMPT = 6
    # Changes that were not recorded.
    GAP = 7


class Subject(NamedTuple):
    """The object that a record belongs to. A uid that the writer does not know is made up from the names."""

    uid: str
    api_version: str
    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Record:
    """`body`: of a change who wrote (`by`, `verb`, `sub`, `mgr`) and `changes`; of events and attempts their text."""

    type: Type
    time: float
    revision: int
    subject: Subject
    owners: tuple[str, ...] = ()
    body: dict[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        return json.dumps(self.body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


NOTHING = Subject("", "", "", "", "")


def gap(*, before: int, after: int, count: int, time: float, reason: str) -> Record:
    """Changes above revision `before` and up to `after`, at most `count` (0: unknown), are missing."""
    return Record(Type.GAP, time, after, NOTHING, body={"before": before, "count": count, "message": reason})


def of_event(registry: Registry, event: Event, origin: Origin | None, *, seen: float) -> Record | None:
    """`seen`: when this process learned of the event, for one whose origin is not known. None: nothing to record."""
    kind = event.row.kind
    resource = registry.resource(kind)
    who = origin or Origin()
    time = who.time or seen
    if resource.tells is not None:
        return _happening(resource.tells, event, who, time)
    if event.old is None:
        return _record(Type.CREATED, kind, event, who, time, Changes())
    if event.new is None:
        return _record(Type.DELETED, kind, event, who, time, Changes())
    old, new = event.old.message_once, event.new.message_once
    changes = diff.of_messages(kind, old, new, concealed=resource.concealed)
    if resource.unrecorded and diff.only(changes, resource.unrecorded):
        return None
    status = resource.has_status and all(change.path.startswith("status") for change in changes.found) and changes.found
    return _record(Type.STATUS if status else Type.CHANGED, kind, event, who, time, changes)


def _record(type_: Type, kind: Kind, event: Event, who: Origin, time: float, changes: Changes) -> Record:
    meta = event.row.message_once.metadata
    body: dict[str, Any] = {
        "by": who.actor,
        "verb": who.verb,
        "sub": who.subresource,
        "mgr": who.manager or ("" if who.actor else _manager(event)),
    }
    if changes.found:
        body["changes"] = [list(change) if not change.concealed else [change.path] for change in changes.found]
    if changes.truncated:
        body["more"] = True
    owners = tuple(ref.uid[:64] for ref in meta.ownerReferences[:MAX_OWNERS] if ref.uid)
    subject = _subject(kind, meta)
    return Record(type_, time, event.revision, subject, owners, {key: value for key, value in body.items() if value})


def _subject(kind: Kind, meta: Any) -> Subject:
    uid = meta.uid or made_up(kind.kind, meta.namespace, meta.name)
    return Subject(uid, kind.api_version, kind.kind, meta.namespace, meta.name)


def made_up(kind: str, namespace: str, name: str) -> str:
    """What stands for the uid of an object without one."""
    return f"{kind}/{namespace}/{name}"


def _manager(event: Event) -> str:
    """The manager whose entry in managedFields a write has changed: for a write whose origin has none."""
    if event.new is None:
        return ""
    known = [] if event.old is None else list(event.old.message_once.metadata.managedFields)
    new = [entry for entry in event.new.message_once.metadata.managedFields if entry not in known]
    return str(max(new, key=lambda entry: int(entry.time.seconds)).manager) if new else ""


def _happening(tells: Callable[[Any], Happening], event: Event, who: Origin, time: float) -> Record | None:
    """Of an Event that was created or has happened again. None for one in another namespace than its object, which its reader
    may not see there; those of objects without a namespace are in `default`."""
    if event.new is None:
        return None
    item = event.new.message_once
    told = tells(item)
    about = told.about
    if item.metadata.namespace != (about.namespace or DEFAULT_NAMESPACE):
        return None
    body = {
        "by": who.actor, "reporter": told.reporter, "host": told.host, "event": told.type, "reason": told.reason,
        "message": told.message[:MAX_MESSAGE], "count": told.count if told.count > 1 else 0, "field": about.fieldPath,
        "in": item.metadata.namespace,
    }  # fmt: skip
    subject = Subject(
        about.uid or made_up(about.kind, about.namespace, about.name), about.apiVersion, about.kind, about.namespace, about.name
    )
    return Record(Type.EVENT, time, event.revision, subject, (), {key: value for key, value in body.items() if value})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to place a pod. `rejected`: numbers of nodes by reason; `node`: empty for a rejection."""

    namespace: str
    name: str
    uid: str
    number: int
    message: str
    node: str = ""
    nodes: int = 0
    feasible: int = 0
    rejected: tuple[tuple[str, int], ...] = ()
    failed: bool = False


def of_attempt(kind: Kind, attempt: Attempt, *, time: float, revision: int) -> Record:
    body = {
        "by": "default-scheduler", "attempt": attempt.number, "node": attempt.node, "nodes": attempt.nodes,
        "feasible": attempt.feasible, "rejected": [list(item) for item in attempt.rejected[:16]], "failed": attempt.failed,
        "message": attempt.message[:MAX_MESSAGE],
    }  # fmt: skip
    subject = Subject(attempt.uid, kind.api_version, kind.kind, attempt.namespace, attempt.name)
    return Record(Type.ATTEMPT, time, revision, subject, (), {key: value for key, value in body.items() if value})
