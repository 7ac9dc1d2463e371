"""The CA's certificate as pods find it: ConfigMap kube-root-ca.crt in each namespace.

Kubernetes' controller makes it soon after its namespace, and pods wait for it; here both are written at once, and the
controller restores it.
"""

from __future__ import annotations

import uuid

from controlplane.resources.plugin import CREATE, Attributes, BasePlugin
from controlplane.store import Tx
from pinnace import kinds
from pinnace.core.v1.config_pb2 import ConfigMap

NAME, KEY = "kube-root-ca.crt", "ca.crt"


def config_map(namespace: str, ca: str) -> ConfigMap:
    """`ca`: PEM."""
    made = ConfigMap(data={KEY: ca})
    made.metadata.name, made.metadata.namespace = NAME, namespace
    made.metadata.annotations["kubernetes.io/description"] = "The CA certificate that verifies the API's certificate."
    return made


class RootCA(BasePlugin):
    """Writes the ConfigMap of a new namespace with it."""

    name = "RootCA"

    def __init__(self, ca: bytes) -> None:
        """`ca`: PEM."""
        self._ca = ca.decode()

    def validate(self, tx: Tx, request: Attributes) -> None:
        if request.resource.kind is not kinds.NAMESPACE or request.operation != CREATE:
            return
        meta = request.message.metadata
        if tx.get(kinds.CONFIG_MAP, meta.name, NAME) is None:
            made = config_map(meta.name, self._ca)
            # It follows from the namespace's: a transaction that is tried again writes the same.
            made.metadata.uid = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{meta.uid}/configmaps/{NAME}"))
            made.metadata.creationTimestamp.seconds = int(request.now)
            tx.put(kinds.CONFIG_MAP, made)
