"""Records as JSON data: what is absent is left out, times are RFC 3339 with microseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pinnace.api.v1.timeline_pb2 import TimelineRecord


def head(message: Any) -> dict[str, Any]:
    """Of the answer: which object it is of, and what is not in it."""
    lives = [
        _filled(uid=life.uid, created=time(life.createdMicros), deleted=time(life.deletedMicros)) for life in message.lives
    ]
    return _filled(
        uid=message.uid, lives=lives, begin=time(message.beginMicros), truncated=message.truncated,
        hiddenObjects=message.hiddenObjects, hiddenRecords=message.hiddenRecords, late=message.late,
    )  # fmt: skip


def record(message: Any) -> dict[str, Any]:
    type_ = message.type
    ref = message.ref
    subject = _filled(apiVersion=ref.apiVersion, kind=ref.kind, namespace=ref.namespace, name=ref.name, uid=message.uid)
    return _filled(
        time=time(message.micros), revision=message.revision, type=TimelineRecord.Type.Name(type_), object=subject,
        actor=message.actor, verb=message.verb, subresource=message.subresource, fieldManager=message.fieldManager,
        changes=list(map(_change, message.changes)), truncated=message.truncated, event=_event(message),
        attempt=_attempt(message) if type_ == TimelineRecord.ATTEMPT else {},
        gap=_gap(message) if type_ == TimelineRecord.GAP else {},
    )  # fmt: skip


def _change(change: Any) -> dict[str, Any]:
    """An empty value is one; an absent one is left out."""
    values = {name: getattr(change, name) for name in ("old", "new") if change.HasField(name)}
    return {"path": change.path, **values, **_filled(concealed=change.concealed)}


def _event(message: Any) -> dict[str, Any]:
    if message.type != TimelineRecord.EVENT:
        return {}
    return _filled(
        type=message.eventType,
        reason=message.reason,
        message=message.message,
        count=message.count,
        reporter=message.reporter,
        host=message.host,
    )


def _attempt(message: Any) -> dict[str, Any]:
    return _filled(
        number=message.attempt, node=message.node, nodes=message.nodes, feasible=message.feasible,
        rejected=dict(message.rejected), message=message.message,
    )  # fmt: skip


def _gap(message: Any) -> dict[str, Any]:
    return _filled(afterRevision=message.afterRevision, changes=message.count, reason=message.message)


def time(micros: int) -> str:
    """Empty for no time."""
    return datetime.fromtimestamp(micros / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if micros else ""


def _filled(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in ("", 0, False) and value != [] and value != {}}
