"""Events: where they may be, and what those with an eventTime must have.

Source: core/v1's legacyValidateEvent, which is all that Kubernetes checks of an event in v1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pinnace import fielderrors, formats
from pinnace.admission import meta
from pinnace.admission.kindrules import KindRules
from pinnace.core.v1 import event_pb2
from pinnace.errors import Cause
from pinnace.wellknown import DEFAULT_NAMESPACE, SYSTEM_NAMESPACE

# Characters of `reportingInstance`, `action` and `reason`.
MAX_WORD = 128
MAX_NOTE = 1024


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


RULES = KindRules[event_pb2.Event](validate=validate)
