"""Publishes the cluster's CA certificate as ConfigMap kube-root-ca.crt in every namespace. Root kind: Namespace.

A new namespace is made with it (`controlplane.resources.rootca`); this restores one that was deleted or changed. Pods verify
the API's certificate by it. Source: kube-controller-manager's root-ca-cert-publisher (publisher.go).
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.resources.rootca import KEY, NAME, config_map
from controlplane.store import Event, Tx
from pinnace import kinds
from pinnace.clock import RandomIds
from pinnace.kinds import Kind


class RootCAPublisher:
    name = "rootcapublisher"
    watches: tuple[Kind, ...] = (kinds.NAMESPACE, kinds.CONFIG_MAP)

    def __init__(self, ca: bytes) -> None:
        """`ca`: PEM."""
        self._ca = ca.decode()

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        row = event.row
        if row.kind is kinds.CONFIG_MAP:
            if row.key.endswith(f"/{NAME}"):
                yield row.key.split("/")[-2]
        elif event.new is not None:
            yield row.key.removeprefix(kinds.NAMESPACE.prefix)

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace = tx.get(kinds.NAMESPACE, "", key)
        if namespace is None or namespace.metadata.deletionTimestamp.seconds:
            return None
        call = verbs.Call(now.wall, RandomIds(), self.name)
        found = tx.get(kinds.CONFIG_MAP, key, NAME)
        if found is None:
            verbs.create(tx, kinds.CONFIG_MAP, config_map(key, self._ca), call)
        elif dict(found.data) != {KEY: self._ca} or found.binaryData:
            found.data.clear()
            found.binaryData.clear()
            found.data[KEY] = self._ca
            verbs.update(tx, kinds.CONFIG_MAP, found, call)
        return None
