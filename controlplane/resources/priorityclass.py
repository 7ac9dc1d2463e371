"""PriorityClasses, and how a pod gets its priority.

Source: the Priority admission plugin.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane.resources.columns import AGE, NAME, Cell, Column, Columns, age
from controlplane.resources.plugin import CREATE, DELETE, UPDATE, Attributes, BasePlugin
from controlplane.resources.resource import Resource
from controlplane.store import Tx
from pinnace import kinds
from pinnace.admission import priorityclasses
from pinnace.errors import Forbidden
from pinnace.podresources import MIRROR
from pinnace.scheduling.v1.priorityclass_pb2 import PriorityClass

_PREEMPT = "PreemptLowerPriority"
_COMPUTED = "must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name"


def _cells(item: PriorityClass, now: float) -> tuple[Cell, ...]:
    return item.metadata.name, item.value, item.globalDefault, age(item, now), item.preemptionPolicy


_COLUMNS = (
    NAME,
    Column("Value", "integer", description="Priority of the pods that name the class."),
    Column("Global-Default", "boolean", description="Whether pods that name no class have this one."),
    AGE,
    Column("PreemptionPolicy", description="Whether pods of the class preempt others: PreemptLowerPriority or Never."),
)
PRIORITY_CLASS = Resource(
    kinds.PRIORITY_CLASS,
    rules=priorityclasses.RULES,
    selectable={
        "value": lambda item: str(item.value),
        "globalDefault": lambda item: "true" if item.globalDefault else "false",
    },
    columns=Columns(_COLUMNS, _cells),
)


class Priority(BasePlugin):
    """Resolves a pod's class into its priority; one class at most is the default."""

    name = "Priority"

    def admit(self, tx: Tx, request: Attributes) -> None:
        if request.resource.kind is not kinds.POD or MIRROR in request.message.metadata.annotations:
            # A mirror shows the priority that the static pod has on its node.
            return
        if request.operation == CREATE:
            _resolve(tx, request.new)
        elif request.operation == UPDATE and request.new is not None:
            _keep(request.old, request.new)

    def validate(self, tx: Tx, request: Attributes) -> None:
        item = request.message
        if request.resource.kind is not kinds.PRIORITY_CLASS or request.operation == DELETE or not item.globalDefault:
            return
        found = _default(tx.list(kinds.PRIORITY_CLASS))
        if found is not None and found.metadata.name != item.metadata.name:
            text = f"PriorityClass {found.metadata.name} is already marked as default. Only one default can exist"
            raise _refused(request.resource.kind.resource, item.metadata.name, text)


def _default(classes: Iterable[PriorityClass]) -> PriorityClass | None:
    """The default class; the least of several, which older versions may have stored."""
    return min((item for item in classes if item.globalDefault), key=lambda item: item.value, default=None)


def _resolve(tx: Tx, pod: Any) -> None:
    """Raises Forbidden for a class that does not exist, and for values that are not the class's."""
    spec, name = pod.spec, pod.metadata.name or pod.metadata.generateName
    if spec.priorityClassName:
        found = tx.get(kinds.PRIORITY_CLASS, "", spec.priorityClassName)
        if found is None:
            raise _refused("pods", name, f"no PriorityClass with name {spec.priorityClassName} was found")
    else:
        # Untracked: a default is about pods that are created after it.
        found = _default(row.message for row in tx.list_untracked(kinds.PRIORITY_CLASS))
        spec.priorityClassName = found.metadata.name if found is not None else ""
    priority = found.value if found is not None else 0
    policy = (found.preemptionPolicy if found is not None else "") or _PREEMPT
    if spec.HasField("priority") and spec.priority != priority:
        raise _refused("pods", name, f"the integer value of priority ({spec.priority}) {_COMPUTED.format(priority)}")
    if found is not None and spec.HasField("preemptionPolicy") and spec.preemptionPolicy != policy:
        text = f"the string value of PreemptionPolicy ({spec.preemptionPolicy}) {_COMPUTED.format(policy)}"
        raise _refused("pods", name, text)
    spec.priority = priority
    if not spec.HasField("preemptionPolicy"):
        spec.preemptionPolicy = policy


def _keep(old: Any, new: Any) -> None:
    """What the server set stays where an update leaves it out."""
    for field in ("priority", "preemptionPolicy"):
        if not new.spec.HasField(field) and old.spec.HasField(field):
            setattr(new.spec, field, getattr(old.spec, field))
    new.spec.priorityClassName = new.spec.priorityClassName or old.spec.priorityClassName


def _refused(resource: str, name: str, why: str) -> Forbidden:
    return Forbidden(f'{resource} "{name[:253]}" is forbidden: {why}', kind=resource, name=name[:253])
