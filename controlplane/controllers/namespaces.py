"""Deletes the content of a namespace that is being deleted, then the namespace. Root kind: Namespace.

Pods are deleted first, and all else when none is left: nothing runs without the objects that it relies on, such as its policies
and Secrets. As many objects are deleted at a time as one transaction takes. Status conditions have what is left.
Source: kube-controller-manager's namespaced_resources_deleter.go and status_condition_utils.go, KEP-5080.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from controlplane import conditions
from controlplane.controllers.budget import WriteBudget
from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.store import Event, StoredObject, Tx
from pinnace import kinds
from pinnace.clock import RandomIds
from pinnace.core.v1.namespace_pb2 import Namespace
from pinnace.errors import ApiError, NotFound
from pinnace.kinds import Kind
from pinnace.wellknown import FINALIZER_KUBERNETES

# Seconds until content with finalizers is checked again; its deletion wakes the controller earlier.
WAIT = 5.0
# Names in a condition's message.
_LISTED = 10


class _Condition(NamedTuple):
    """A condition of a namespace that is being deleted; True is bad."""

    type: str
    reason: str
    ok_reason: str
    ok_message: str


# The registry always knows all kinds, so the first two are never True.
_DISCOVERY = _Condition(
    "NamespaceDeletionDiscoveryFailure", "DiscoveryFailed", "ResourcesDiscovered", "All resources successfully discovered"
)
_PARSING = _Condition(
    "NamespaceDeletionGroupVersionParsingFailure", "GroupVersionParsingFailed", "ParsedGroupVersions",
    "All legacy kube types successfully parsed",
)  # fmt: skip
_FAILURE = _Condition(
    "NamespaceDeletionContentFailure", "ContentDeletionFailed", "ContentDeleted",
    "All content successfully deleted, may be waiting on finalization",
)  # fmt: skip
_CONTENT = _Condition("NamespaceContentRemaining", "SomeResourcesRemain", "ContentRemoved", "All content successfully removed")
_FINALIZERS = _Condition(
    "NamespaceFinalizersRemaining", "SomeFinalizersRemain", "ContentHasNoFinalizers",
    "All content-preserving finalizers finished",
)  # fmt: skip
_CONDITIONS = (_DISCOVERY, _PARSING, _FAILURE, _CONTENT, _FINALIZERS)


class Namespaces:
    name = "namespaces"
    watches: tuple[Kind, ...] = ()

    def __init__(self) -> None:
        self._terminating: set[str] = set()
        # Namespace to the store keys of content that may not be deleted, each with the reason.
        self._refused: dict[str, dict[str, str]] = {}

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        row = event.row
        if row.kind is kinds.NAMESPACE:
            name = row.key.rsplit("/", 1)[1]
            if event.new is not None and event.new.message.metadata.deletionTimestamp.seconds:
                self._terminating.add(name)
                yield name
            elif event.new is None:
                self._terminating.discard(name)
                self._refused.pop(name, None)
        elif row.kind.namespaced and self._terminating and event.new is None:
            namespace = row.key.split("/")[-2]
            if namespace in self._terminating:
                yield namespace

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace = tx.get(kinds.NAMESPACE, "", key)
        if namespace is None or not namespace.metadata.deletionTimestamp.seconds:
            return None
        content = [row for kind in tx.kinds if kind.namespaced for row in tx.list_untracked(kind, key)]
        if not content:
            return _finish(tx, namespace)
        content = [row for row in content if row.kind is kinds.POD] or content
        # Those that were refused in an earlier transaction come last, or many of them would hide the others.
        refused = self._refused.setdefault(key, {})
        known = len(refused)
        if _delete(tx, sorted(content, key=lambda row: row.key in refused), refused, now) or len(refused) > known:
            return Requeue(0.0)
        _explain(tx, namespace, content, refused, now)
        del self._refused[key]
        return Requeue(WAIT)


def _finish(tx: Tx, namespace: Namespace) -> Requeue | None:
    """Nothing is left: remove our finalizer."""
    name = namespace.metadata.name
    # Tracked only now, so that an object created meanwhile is a conflict and not an orphan.
    if any(tx.list(kind, name) for kind in tx.kinds if kind.namespaced):
        return Requeue(0.0)
    if FINALIZER_KUBERNETES in namespace.spec.finalizers:
        namespace.spec.finalizers.remove(FINALIZER_KUBERNETES)
        verbs.settle(tx, kinds.NAMESPACE, namespace)
    return None


def _delete(tx: Tx, content: Sequence[StoredObject], refused: dict[str, str], now: Moment) -> int:
    """Delete what is not being deleted yet, as far as one transaction reaches; returns how many objects that were.

    A refusal concerns that object alone, and is added to `refused`."""
    budget, call, deleted = WriteBudget(), verbs.Call(now.wall, RandomIds()), 0
    for row in content:
        meta = row.message.metadata
        if meta.deletionTimestamp.seconds:
            continue
        if not budget.take(len(row.value)):
            break
        try:
            verbs.delete(tx, row.kind, meta.namespace, meta.name, call)
            deleted += 1
        except NotFound:
            continue
        except ApiError as error:
            refused[row.key] = f"{row.kind.resource} {meta.name}: {error}"
    return deleted


def _explain(
    tx: Tx, namespace: Namespace, waiting: Sequence[StoredObject], refused: Mapping[str, str], now: Moment
) -> None:  # fmt: skip
    """Conditions for what keeps the namespace."""
    # Upstream writes the resource with a dot, also where there is no group.
    resources = Counter(f"{row.kind.plural}.{row.kind.group}" for row in waiting)
    finalizers = Counter(name for row in waiting for name in row.message.metadata.finalizers)
    failures = {row.kind: refused[row.key] for row in reversed(waiting) if row.key in refused}
    told = {
        _FAILURE: _failed([failures[kind] for kind in sorted(failures, key=lambda kind: kind.resource)]),
        _CONTENT: _counted("resources are remaining", "{} has {} resource instances", resources),
        _FINALIZERS: _counted("content in the namespace has finalizers remaining", "{} in {} resource instances", finalizers),
    }
    changed = [_condition(namespace, condition, told.get(condition, ""), now) for condition in _CONDITIONS]
    if any(changed):
        tx.put(kinds.NAMESPACE, namespace)


def _failed(messages: Sequence[str]) -> str:
    """`messages`: one for each kind of which something may not be deleted."""
    listed = ", ".join(messages[:_LISTED])
    return f"Failed to delete all resource types, {len(messages)} remaining: {listed}" if messages else ""


def _counted(subject: str, form: str, counts: Counter[str]) -> str:
    listed = ", ".join(form.format(name, count) for name, count in sorted(counts.items())[:_LISTED])
    return f"Some {subject}: {listed}" if listed else ""


def _condition(namespace: Namespace, condition: _Condition, message: str, now: Moment) -> bool:
    """Set it True with a message, or False without one; whether it changed."""
    value = ("True", condition.reason, message) if message else ("False", condition.ok_reason, condition.ok_message)
    status, reason, text = value
    return conditions.put(namespace.status, condition.type, status, now=now.wall, reason=reason, message=text)
