"""Accepts the names of custom kinds, and deletes the objects of a deleted definition. Root kind: CustomResourceDefinition.

Keys are names of definitions. Source: apiextensions-apiserver's pkg/controller/status, establish and finalizer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane import conditions
from controlplane.controllers.budget import WriteBudget
from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.store import Event, Tx
from pinnace import kinds
from pinnace.clock import RandomIds
from pinnace.kinds import Kind
from pinnace.wellknown import FINALIZER_CUSTOM_RESOURCES

_CRD = kinds.CUSTOM_RESOURCE_DEFINITION
_ACCEPTED, _ESTABLISHED, _TERMINATING = "NamesAccepted", "Established", "Terminating"


class CustomResources:
    name = "customresources"
    watches: tuple[Kind, ...] = (_CRD,)

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        """Every definition of a group may want names that a definition gives up; they look again by themselves."""
        if event.row.kind is _CRD:
            yield event.row.key.rpartition("/")[2]

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        item: Any = tx.get(_CRD, "", key)
        if item is None:
            return None
        if item.metadata.deletionTimestamp.seconds:
            return _terminate(tx, item, now)
        taken = _taken(tx, item)
        _set_status(item, taken, now.wall)
        before: Any = tx.get(_CRD, "", key)
        if item != before:
            tx.put(_CRD, item)
        # Another kind has the names: it may be deleted one day.
        return Requeue(30.0) if taken else None


def _taken(tx: Tx, item: Any) -> tuple[str, str] | None:
    """A reason and a message when another kind of the group has one of the names."""
    for kind in tx.kinds:
        if kind.group == item.spec.group and not (kind.plural == item.spec.names.plural and _is_own(item)):
            found = _shared(item.spec.names, {kind.plural, kind.singular, *kind.short_names}, {kind.kind})
            if found is not None:
                return found
    if _is_own(item) and item.status.acceptedNames == item.spec.names:
        return None
    # Of two definitions at once the registry may know neither: reading all of them makes their transactions conflict.
    for other in tx.list(_CRD):
        if other.spec.group == item.spec.group and other.metadata.name != item.metadata.name and _is_own(other):
            names = other.status.acceptedNames
            words = {names.plural, names.singular, *names.shortNames}
            found = _shared(item.spec.names, words, {names.kind, names.listKind})
            if found is not None:
                return found
    return None


def _shared(wanted: Any, words: set[str], kinds_taken: set[str]) -> tuple[str, str] | None:
    shared = {wanted.plural, wanted.singular, *wanted.shortNames} & words
    if shared:
        name = sorted(shared)[0]
        part = {wanted.plural: "Plural", wanted.singular: "Singular"}.get(name, "ShortNames")
        return f"{part}Conflict", f'"{name}" is already in use'
    # In the order in which a definition names them.
    name = next((name for name in (wanted.kind, wanted.listKind) if name in kinds_taken), "")
    return ("KindConflict" if name == wanted.kind else "ListKindConflict", f'"{name}" is already in use') if name else None


def _is_own(item: Any) -> bool:
    """Whether a served kind of these names is the one that this definition added: then the definition is established."""
    found = conditions.find(item.status, _ESTABLISHED)
    return found is not None and found.status == "True"


def accept(item: Any, *, now: float) -> None:
    """Give a definition the names that it wants."""
    status = item.status
    status.acceptedNames.CopyFrom(item.spec.names)
    conditions.put(status, _ACCEPTED, "True", now=now, reason="NoConflicts", message="no conflicts found")
    message = "the initial names have been accepted"
    conditions.put(status, _ESTABLISHED, "True", now=now, reason="InitialNamesAccepted", message=message)


def _set_status(item: Any, taken: tuple[str, str] | None, now: float) -> None:
    status = item.status
    if taken is None:
        accept(item, now=now)
        return
    conditions.put(status, _ACCEPTED, "False", now=now, reason=taken[0], message=taken[1])
    established = conditions.find(status, _ESTABLISHED)
    if established is None or established.status != "True":
        conditions.put(
            status, _ESTABLISHED, "False", now=now, reason="NotAccepted", message="not all names are accepted"
        )  # fmt: skip


def _terminate(tx: Tx, item: Any, now: Moment) -> Requeue | None:
    """Delete the objects, then take the finalizer away. No object can be created meanwhile: see Terminating."""
    if FINALIZER_CUSTOM_RESOURCES not in item.metadata.finalizers:
        return None
    group, plural = item.spec.group, item.spec.names.plural
    kind = next((kind for kind in tx.kinds if kind.group == group and kind.plural == plural), None)
    rows = list(tx.list_untracked(kind)) if kind is not None and _is_own(item) else []
    if not rows and (kind is None or not _is_own(item) or not tx.list(kind)):
        kept = [name for name in item.metadata.finalizers if name != FINALIZER_CUSTOM_RESOURCES]
        del item.metadata.finalizers[:]
        item.metadata.finalizers.extend(kept)
        message = "removed all instances"
        conditions.put(item.status, _TERMINATING, "False", now=now.wall, reason="InstanceDeletionCompleted", message=message)
        verbs.settle(tx, _CRD, item)
        return None
    assert kind is not None
    message = "CustomResource deletion is in progress"
    if conditions.put(item.status, _TERMINATING, "True", now=now.wall, reason="InstanceDeletionInProgress", message=message):
        tx.put(_CRD, item)
    call = verbs.Call(now.wall, RandomIds())
    waiting, budget = [row for row in rows if not row.message.metadata.deletionTimestamp.seconds], WriteBudget()
    for row in waiting:
        if not budget.take(len(row.value)):
            break
        found: Any = row.message
        if tx.get(kind, found.metadata.namespace, found.metadata.name) is not None:
            verbs.delete(tx, kind, found.metadata.namespace, found.metadata.name, call)
    return Requeue(0.0) if waiting else Requeue(5.0)
