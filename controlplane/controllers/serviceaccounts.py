"""Keeps the ServiceAccount `default` in every namespace. Root kind: Namespace.

A new namespace is made with it (`controlplane.resources.serviceaccount`); this restores one that was deleted, and makes those
of namespaces that are older.
Source: kube-controller-manager's serviceaccount controller (serviceaccounts_controller.go).
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.resources.serviceaccount import DEFAULT
from controlplane.store import Event, Tx
from pinnace import kinds
from pinnace.clock import RandomIds
from pinnace.kinds import Kind


class ServiceAccounts:
    name = "serviceaccounts"
    watches: tuple[Kind, ...] = (kinds.NAMESPACE, kinds.SERVICE_ACCOUNT)

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        row = event.row
        if row.kind is kinds.NAMESPACE:
            if event.new is not None:
                yield row.key.removeprefix(kinds.NAMESPACE.prefix)
        elif event.new is None and row.key.endswith(f"/{DEFAULT}"):
            yield row.key.split("/")[-2]

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace = tx.get(kinds.NAMESPACE, "", key)
        if namespace is None or namespace.metadata.deletionTimestamp.seconds:
            return None
        if tx.get(kinds.SERVICE_ACCOUNT, key, DEFAULT) is None:
            account = kinds.SERVICE_ACCOUNT.cls()
            account.metadata.name, account.metadata.namespace = DEFAULT, key
            verbs.create(tx, kinds.SERVICE_ACCOUNT, account, verbs.Call(now.wall, RandomIds(), self.name))
        return None
