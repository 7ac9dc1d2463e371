"""Namespaces: their status, and the finalizer that keeps one until its content is gone.

Source: registry/core/namespace (strategy.go and storage.go) and the NamespaceLifecycle admission plugin.
"""

from __future__ import annotations

from typing import Any

from controlplane.resources.columns import AGE, NAME, Cell, Column, Columns, age
from controlplane.resources.plugin import CREATE, DELETE, Attributes, BasePlugin
from controlplane.resources.resource import VERBS, Resource, Strategy, Subresource
from controlplane.store import Tx
from pinnace import admission, kinds
from pinnace.admission import namespaces
from pinnace.admission.kindrules import KindRules
from pinnace.core.v1.namespace_pb2 import Namespace
from pinnace.errors import Cause, Conflict, Forbidden
from pinnace.kinds import Kind
from pinnace.wellknown import DEFAULT_NAMESPACE, FINALIZER_KUBERNETES, NODE_LEASE_NAMESPACE, SYSTEM_NAMESPACE

# Namespaces that every cluster needs.
IMMORTAL = (DEFAULT_NAMESPACE, SYSTEM_NAMESPACE, NODE_LEASE_NAMESPACE)


class _Strategy(Strategy[Namespace]):
    def prepare_for_create(self, new: Namespace) -> None:
        new.status.phase = "Active"

    def prepare_for_update(self, new: Namespace, old: Namespace) -> None:
        """Only `finalize` may take a finalizer away: else the content would outlive its namespace."""
        new.spec.finalizers[:] = old.spec.finalizers

    def prepare_for_delete(self, stored: Namespace) -> None:
        stored.status.phase = "Terminating"
        if FINALIZER_KUBERNETES not in stored.spec.finalizers:
            stored.spec.finalizers.append(FINALIZER_KUBERNETES)

    def is_settled(self, stored: Namespace) -> bool:
        return not stored.spec.finalizers


class Finalize(Subresource[Namespace]):
    """The finalizers of the spec."""

    verbs = ("update",)

    def applied(self, manifest: dict[str, Any]) -> dict[str, Any] | None:
        return None

    def replace(self, stored: Namespace, request: Namespace) -> None:
        stored.spec.finalizers[:] = request.spec.finalizers

    def validate(self, kind: Kind[Namespace], rules: KindRules[Namespace], new: Namespace, old: Namespace) -> None:
        admission.validate(kind, new, rules, old=old)

    def check(self, tx: Tx, new: Namespace) -> None:
        """The content is gone before the finalizer that stands for it, for every caller. Raises Conflict."""
        name = new.metadata.name
        if new.metadata.deletionTimestamp.seconds and FINALIZER_KUBERNETES not in new.spec.finalizers:
            left = next((kind for kind in tx.kinds if kind.namespaced and tx.list(kind, name)), None)
            if left is not None:
                raise Conflict(f'namespace "{name}" still holds {left.plural}', kind=kinds.NAMESPACE.resource, name=name)


class NamespaceLifecycle(BasePlugin):
    """An object is created only in a namespace that exists and stays."""

    name = "NamespaceLifecycle"

    def admit(self, tx: Tx, request: Attributes) -> None:
        kind = request.resource.kind
        if request.operation != CREATE or not kind.namespaced:
            return
        name = request.message.metadata.namespace
        namespace = tx.require(kinds.NAMESPACE, "", name)
        if namespace.metadata.deletionTimestamp.seconds:
            raise _terminating(request, name)

    def validate(self, tx: Tx, request: Attributes) -> None:
        if request.operation == DELETE and request.resource.kind is kinds.NAMESPACE:
            name = request.message.metadata.name
            if name in IMMORTAL:
                raise Forbidden(f'namespaces "{name}" is forbidden: this namespace may not be deleted', name=name)


def _terminating(request: Attributes, namespace: str) -> Forbidden:
    """With the cause by which client-go tells it from other refusals (NamespaceTerminatingCause)."""
    resource, name = request.resource.kind.resource, request.message.metadata.name
    text = f"unable to create new content in namespace {namespace} because it is being terminated"
    cause = Cause("metadata.namespace", f"namespace {namespace} is being terminated", "NamespaceTerminating")
    return Forbidden(f'{resource} "{name}" is forbidden: {text}', kind=resource, name=name, causes=(cause,))


def _cells(item: Namespace, now: float) -> tuple[Cell, ...]:
    return item.metadata.name, item.status.phase, age(item, now)


_STATUS = Column("Status", description="Phase of the namespace: Active, or Terminating while its content is deleted.")
NAMESPACE = Resource(
    kinds.NAMESPACE,
    rules=namespaces.RULES,
    strategy=_Strategy(),
    subresources={"finalize": Finalize()},
    selectable={"status.phase": lambda item: item.status.phase},
    columns=Columns((NAME, _STATUS, AGE), _cells),
    # As in Kubernetes: one request would delete everything.
    verbs=tuple(verb for verb in VERBS if verb != "deletecollection"),
)
