"""Events: where they may be, and what those with an eventTime must have; of those in events.k8s.io all has to be so.

Source: core/v1's legacyValidateEvent, which is all that Kubernetes checks of an event in v1, and ValidateEventCreate and
ValidateEventUpdate of the same file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from pinnace import codec, fielderrors, formats, kinds
from pinnace.admission import meta
from pinnace.admission.kindrules import KindRules
from pinnace.core.v1 import event_pb2
from pinnace.equality import same
from pinnace.errors import Cause
from pinnace.events.v1 import event_pb2 as events_event_pb2
from pinnace.storedforms import RenamedForm
from pinnace.wellknown import DEFAULT_NAMESPACE, SYSTEM_NAMESPACE

# Characters of `reportingInstance`, `action` and `reason`.
MAX_WORD = 128
MAX_NOTE = 1024
_DEPRECATED = ("deprecatedFirstTimestamp", "deprecatedLastTimestamp", "deprecatedCount", "deprecatedSource")
# All but metadata and series: an event that continues is the same event.
_IMMUTABLE = (
    "regarding", "reason", "note", "type", "eventTime", "action", "related", "reportingController", "reportingInstance",
    *_DEPRECATED,
)  # fmt: skip


def validate(event: Any) -> list[Cause]:
    return [*_place(event), *(_reported(event) if event.eventTime.ListFields() else ())]


def _place(event: Any) -> Iterator[Cause]:
    """An event is in the namespace of its object; that of an object without one in `default`."""
    here, there = event.metadata.namespace, event.involvedObject.namespace
    alone = (DEFAULT_NAMESPACE, SYSTEM_NAMESPACE) if event.eventTime.ListFields() else (DEFAULT_NAMESPACE,)
    if (there and there != here and not event.eventTime.ListFields()) or (not there and here not in alone):
        yield fielderrors.invalid("involvedObject.namespace", there, "does not match event.namespace")


def _reported(event: Any) -> Iterator[Cause]:
    if not event.reportingComponent:
        yield fielderrors.required("reportingComponent")
    yield from meta.each("reportingComponent", event.reportingComponent, formats.qualified_name)
    for field in ("reportingInstance", "action", "reason"):
        if not getattr(event, field):
            yield fielderrors.required(field)
        yield from _short(event, field, MAX_WORD)
    yield from _short(event, "message", MAX_NOTE)


def _short(event: Any, field: str, most: int) -> Iterator[Cause]:
    if len(getattr(event, field)) > most:
        yield fielderrors.invalid(field, "", f"can have at most {most} characters")


# Their names have no rule of their own, as in Kubernetes: recorders may end the beginning of one with a dot.
RULES = KindRules[event_pb2.Event](validate=validate, name=formats.path_segment)


def stored(event: Any) -> Any:
    """An event of events.k8s.io in the form in which it is stored, that of v1."""
    form = kinds.EVENTS_EVENT.stored
    assert form is not None
    return form.message(event)


def _of_its_group(event: Any) -> list[Cause]:
    """The rules of v1, with the names of fields in events.k8s.io."""
    form = kinds.EVENTS_EVENT.stored
    assert isinstance(form, RenamedForm)
    names = {there: own for own, there in form.renamed.items()}
    return [_renamed(cause, names) for cause in validate(form.message(event))]


def _renamed(cause: Cause, names: dict[str, str]) -> Cause:
    head, dot, rest = cause.field.partition(".")
    return Cause(f"{names.get(head, head)}{dot}{rest}", cause.message, cause.reason)


def _new(event: Any) -> list[Cause]:
    causes = _series(event)
    if not event.eventTime.ListFields():
        causes.append(fielderrors.required("eventTime"))
    if event.type not in ("Normal", "Warning"):
        causes.append(fielderrors.invalid("type", "", f"has invalid value: {event.type}"))
    given = {field.name for field, value in event.ListFields() if field.message_type is None or value.ListFields()}
    return causes + [fielderrors.invalid(name, "", "needs to be unset") for name in _DEPRECATED if name in given]


def _update(old: Any, new: Any) -> list[Cause]:
    changed = [name for name in _IMMUTABLE if _differs(getattr(new, name), getattr(old, name))]
    causes = [fielderrors.invalid(name, codec.encode(new).get(name), "field is immutable") for name in changed]
    return causes if same(new.series, old.series) else [*_series(new), *causes]


def _differs(new: Any, old: Any) -> bool:
    return not same(new, old) if isinstance(new, Message) else bool(new != old)


def _series(event: Any) -> list[Cause]:
    causes: list[Cause] = []
    if event.HasField("series"):
        if event.series.count < 2:
            causes.append(fielderrors.invalid("series.count", "", "should be at least 2"))
        if not event.series.lastObservedTime.ListFields():
            causes.append(fielderrors.required("series.lastObservedTime"))
    return causes


STRICT_RULES = KindRules[events_event_pb2.Event](
    validate=_of_its_group, validate_create=_new, validate_update=_update, name=formats.path_segment
)
