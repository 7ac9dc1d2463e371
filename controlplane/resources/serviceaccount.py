"""ServiceAccounts: a namespace has one from the start, and a pod is of one that exists.

Source: the ServiceAccount admission plugin. Kubernetes' controller makes the account `default` soon after its namespace, and
the plugin waits for it; here both are written at once.
"""

from __future__ import annotations

import uuid

from controlplane.resources import tokenvolume
from controlplane.resources.plugin import CREATE, Attributes, BasePlugin
from controlplane.resources.resource import Resource
from controlplane.store import Tx
from pinnace import kinds
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.core.v1.serviceaccount_pb2 import ServiceAccount
from pinnace.errors import Forbidden
from pinnace.podresources import MIRROR

DEFAULT = "default"
SERVICE_ACCOUNT = Resource(kinds.SERVICE_ACCOUNT, answered={"token": kinds.TOKEN_REQUEST}, returns_deleted=True)


class ServiceAccountPlugin(BasePlugin):
    """A pod's account must exist, and its token is mounted; a pod without imagePullSecrets has those of its account."""

    name = "ServiceAccount"

    def admit(self, tx: Tx, request: Attributes) -> None:
        """Raises Forbidden."""
        if request.resource.kind is not kinds.POD or request.operation != CREATE:
            return
        pod: Pod = request.message
        if MIRROR in pod.metadata.annotations:
            return
        meta, name = pod.metadata, pod.spec.serviceAccountName
        found = tx.get(kinds.SERVICE_ACCOUNT, meta.namespace, name)
        if found is None:
            shown = (meta.name or meta.generateName)[:253]
            text = f'error looking up service account {meta.namespace}/{name}: serviceaccount "{name}" not found'
            raise Forbidden(f'pods "{shown}" is forbidden: {text}', kind="pods", name=shown)
        if tokenvolume.wanted(pod, found):
            tokenvolume.mount(pod, found)
        if not pod.spec.imagePullSecrets:
            pod.spec.imagePullSecrets.extend(found.imagePullSecrets)

    def validate(self, tx: Tx, request: Attributes) -> None:
        """Write the account of a new namespace with it."""
        if request.resource.kind is not kinds.NAMESPACE or request.operation != CREATE:
            return
        meta = request.message.metadata
        if tx.get(kinds.SERVICE_ACCOUNT, meta.name, DEFAULT) is None:
            tx.put(kinds.SERVICE_ACCOUNT, _default(meta.name, meta.uid, request.now))


def _default(namespace: str, uid: str, now: float) -> ServiceAccount:
    """Its UID follows from the namespace's: a transaction that is tried again writes the same."""
    made = ServiceAccount()
    made.metadata.name, made.metadata.namespace = DEFAULT, namespace
    made.metadata.uid = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{uid}/serviceaccounts/{DEFAULT}"))
    made.metadata.creationTimestamp.seconds = int(now)
    return made
