"""Deletes the content of a namespace that is being deleted, then the namespace. Root kind: Namespace.

Content is deleted as many objects at a time as one transaction takes. Status conditions say what is left, as in Kubernetes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

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
        # Those that were refused in an earlier transaction come last, or many of them would hide the others.
        refused = self._refused.setdefault(key, {})
        known = len(refused)
        if _delete(tx, sorted(content, key=lambda row: row.key in refused), refused, now) or len(refused) > known:
            return Requeue(0.0)
        _explain(tx, namespace, content, list(refused.values()), now)
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


def _explain(tx: Tx, namespace: Namespace, waiting: Sequence[StoredObject], refusals: Sequence[str], now: Moment) -> None:
    """Conditions for what keeps the namespace."""
    resources = Counter(row.kind.resource for row in waiting)
    finalizers = Counter(name for row in waiting for name in row.message.metadata.finalizers)
    left = _counted("resources are remaining", "{} has {} resource instances", resources)
    kept = _counted("content in the namespace has finalizers remaining", "{} in {} resource instances", finalizers)
    changed = [
        _condition(namespace, "NamespaceDeletionContentFailure", "ContentDeletionFailed", _listed(refusals), now),
        _condition(namespace, "NamespaceContentRemaining", "SomeResourcesRemain", left, now),
        _condition(namespace, "NamespaceFinalizersRemaining", "SomeFinalizersRemain", kept, now),
    ]
    if any(changed):
        tx.put(kinds.NAMESPACE, namespace)


def _listed(refusals: Sequence[str]) -> str:
    return f"Failed to delete some content: {'; '.join(refusals[:_LISTED])}" if refusals else ""


def _counted(subject: str, form: str, counts: Counter[str]) -> str:
    listed = ", ".join(form.format(name, count) for name, count in sorted(counts.items())[:_LISTED])
    return f"Some {subject}: {listed}" if listed else ""


def _condition(namespace: Namespace, type_: str, reason: str, message: str, now: Moment) -> bool:
    """Set it True with a message, or False where there is nothing to say and it was True before; whether it changed."""
    if not message and conditions.find(namespace.status, type_) is None:
        return False
    value, why, text = ("True", reason, message) if message else ("False", "ContentRemoved", "Nothing of this kind is left")
    return conditions.put(namespace.status, type_, value, now=now.wall, reason=why, message=text)
