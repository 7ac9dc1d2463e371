"""Publishes the cluster's CA certificate as ConfigMap kube-root-ca.crt in every namespace. Root kind: Namespace.

Pods verify the API's certificate by it. Source: kube-controller-manager's root-ca-cert-publisher (publisher.go).
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.store import Event, Tx
from pinnace import kinds
from pinnace.clock import RandomIds
from pinnace.kinds import Kind

CONFIG_MAP = "kube-root-ca.crt"
KEY = "ca.crt"
_DESCRIPTION = "kubernetes.io/description"


class RootCAPublisher:
    name = "rootcapublisher"
    watches: tuple[Kind, ...] = (kinds.NAMESPACE, kinds.CONFIG_MAP)

    def __init__(self, ca: bytes) -> None:
        """`ca`: PEM."""
        self._ca = ca.decode()

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        row = event.row
        if row.kind is kinds.CONFIG_MAP:
            if row.key.endswith(f"/{CONFIG_MAP}"):
                yield row.key.split("/")[-2]
        elif event.new is not None:
            yield row.key.removeprefix(kinds.NAMESPACE.prefix)

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace = tx.get(kinds.NAMESPACE, "", key)
        if namespace is None or namespace.metadata.deletionTimestamp.seconds:
            return None
        call = verbs.Call(now.wall, RandomIds(), self.name)
        found = tx.get(kinds.CONFIG_MAP, key, CONFIG_MAP)
        if found is None:
            made = kinds.CONFIG_MAP.cls(data={KEY: self._ca})
            made.metadata.name, made.metadata.namespace = CONFIG_MAP, key
            made.metadata.annotations[_DESCRIPTION] = "The CA certificate that verifies the API's certificate."
            verbs.create(tx, kinds.CONFIG_MAP, made, call)
        elif dict(found.data) != {KEY: self._ca} or found.binaryData:
            found.data.clear()
            found.binaryData.clear()
            found.data[KEY] = self._ca
            verbs.update(tx, kinds.CONFIG_MAP, found, call)
        return None
