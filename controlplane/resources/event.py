"""Events: what happened to an object, found by the object's fields."""

from __future__ import annotations

from controlplane.resources.columns import NAME, Cell, Column, Columns, wide
from controlplane.resources.resource import Resource
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
    component, instance = item.source.component or item.reportingComponent, item.source.host or item.reportingInstance
    return f"{component}, {instance}" if instance else component


EVENT = Resource(
    kinds.EVENT,
    rules=events.RULES,
    selectable={
        "involvedObject.kind": lambda item: item.involvedObject.kind,
        "involvedObject.namespace": lambda item: item.involvedObject.namespace,
        "involvedObject.name": lambda item: item.involvedObject.name,
        "involvedObject.uid": lambda item: item.involvedObject.uid,
        "involvedObject.apiVersion": lambda item: item.involvedObject.apiVersion,
        "reason": lambda item: item.reason,
        "reportingComponent": lambda item: item.reportingComponent,
        "source": lambda item: item.source.component or item.reportingComponent,
        "type": lambda item: item.type,
    },
    # Not of its kind, which most events share.
    indexed=("involvedObject.name", "involvedObject.uid"),
    columns=Columns(_COLUMNS, _cells),
)
