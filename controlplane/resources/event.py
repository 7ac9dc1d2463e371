"""Events: what happened to an object, found by the object's fields. They have two groups, core and events.k8s.io.

Source: ToSelectableFields of pkg/registry/core/event, and the field labels of pkg/apis/events/v1 (conversion.go).
"""

from __future__ import annotations

from collections.abc import Callable

from controlplane.resources.columns import NAME, Cell, Column, Columns, wide
from controlplane.resources.indexes import of_field
from controlplane.resources.resource import Happening, Resource
from pinnace import humantime, kinds
from pinnace.admission import events
from pinnace.core.v1.event_pb2 import Event

_COLUMNS = (
    Column("Last Seen", description="Time since it last happened."),
    Column("Type", description="Normal or Warning."),
    Column("Reason", description="What happened, in one word."),
    Column("Object", description="Kind and name of the object that the event is about."),
    wide("Subobject", "Part of the object, as a field path."),
    wide("Source", "Component that reported it, and where it runs."),
    Column("Message", description="What happened, in words."),
    wide("First Seen", "Time since it first happened."),
    wide("Count", "How often it has happened."),
    wide(NAME.name, NAME.description, format=NAME.format),
)


def _cells(item: Event, now: float) -> tuple[Cell, ...]:
    about, message = item.involvedObject, item.message.strip()
    target = f"{about.kind.lower()}/{about.name}" if about.name else about.kind.lower()
    first = humantime.since(item.firstTimestamp.seconds or item.eventTime.seconds, now)
    last = humantime.since(item.lastTimestamp.seconds, now) if item.lastTimestamp.seconds else first
    # The newer form has a series, and counts nothing that happened once.
    count = item.count or 1
    if item.HasField("series"):
        last, count = humantime.since(item.series.lastObservedTime.seconds, now), item.series.count
    return last, item.type, item.reason, target, about.fieldPath, _source(item), message, first, count, item.metadata.name


def _source(item: Event) -> str:
    component, instance = _reporter(item), item.source.host or item.reportingInstance
    return f"{component}, {instance}" if instance else component


def _reporter(item: Event) -> str:
    return item.source.component or item.reportingComponent


_ABOUT: dict[str, Callable[[Event], str]] = {
    "kind": lambda item: item.involvedObject.kind,
    "namespace": lambda item: item.involvedObject.namespace,
    "name": lambda item: item.involvedObject.name,
    "uid": lambda item: item.involvedObject.uid,
    "apiVersion": lambda item: item.involvedObject.apiVersion,
    "resourceVersion": lambda item: item.involvedObject.resourceVersion,
    "fieldPath": lambda item: item.involvedObject.fieldPath,
}
_OWN: dict[str, Callable[[Event], str]] = {
    "reason": lambda item: item.reason, "source": _reporter, "type": lambda item: item.type,
}  # fmt: skip


def _selectable(about: str, reporter: str) -> dict[str, Callable[[Event], str]]:
    """By the names that a group has for the object concerned and for the reporter. Of the stored form in either group."""
    fields = {f"{about}.{name}": text for name, text in _ABOUT.items()}
    return {**fields, **_OWN, reporter: lambda item: item.reportingComponent}


def _happening(item: Event) -> Happening:
    count = item.series.count if item.HasField("series") else item.count or 1
    host = item.source.host or item.reportingInstance
    return Happening(item.involvedObject, item.type, item.reason, item.message, count, _reporter(item), host)


EVENT = Resource(
    kinds.EVENT,
    rules=events.RULES,
    creates_on_update=True,
    selectable=_selectable("involvedObject", "reportingComponent"),
    # Not of its kind, which most events share.
    indexed=("involvedObject.name", "involvedObject.uid"),
    # Of what the other group has an index of. An index is made when it is first asked for.
    own_indexes={f"regarding.{name}": of_field(_ABOUT[name]) for name in ("name", "uid")},
    columns=Columns(_COLUMNS, _cells),
    tells=_happening,
)
EVENTS_EVENT = Resource(
    kinds.EVENTS_EVENT,
    rules=events.STRICT_RULES,
    creates_on_update=True,
    selectable=_selectable("regarding", "reportingController"),
    indexed=("regarding.name", "regarding.uid"),
    columns=Columns(_COLUMNS, lambda item, now: _cells(events.stored(item), now)),
)
