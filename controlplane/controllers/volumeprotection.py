"""Keeps claims that pods use, and volumes that are bound, until they are not: by a finalizer on each. Root kinds:
PersistentVolumeClaim and PersistentVolume.

Source: kube-controller-manager's pvcprotection and pvprotection controllers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.resources.pod import CLAIM
from controlplane.store import Event, Tx
from pinnace import kinds, persistentvolumes
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.kinds import Kind
from pinnace.persistentvolumes import BOUND
from pinnace.wellknown import FINALIZER_CLAIM_PROTECTION, FINALIZER_VOLUME_PROTECTION

_ENDED = ("Succeeded", "Failed")


class ClaimProtection:
    name = "pvc-protection"
    watches: tuple[Kind, ...] = (kinds.PERSISTENT_VOLUME_CLAIM, kinds.POD)

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        if event.row.kind is kinds.PERSISTENT_VOLUME_CLAIM:
            if event.new is not None and event.new.message.metadata.deletionTimestamp.seconds:
                yield event.row.key.removeprefix(kinds.PERSISTENT_VOLUME_CLAIM.prefix)
            return
        pod = event.row.message
        if event.new is None or not _uses(pod):
            for claim in persistentvolumes.claims_of(pod):
                yield f"{pod.metadata.namespace}/{claim.name}"

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace, _, name = key.partition("/")
        claim = tx.get(kinds.PERSISTENT_VOLUME_CLAIM, namespace, name)
        if claim is None or not claim.metadata.deletionTimestamp.seconds:
            return None
        # Untracked: no pod is placed that uses a claim which is being deleted.
        if not any(_uses(row.message) for row in tx.by_index(kinds.POD, CLAIM, key)):
            _remove(tx, kinds.PERSISTENT_VOLUME_CLAIM, claim, FINALIZER_CLAIM_PROTECTION)
        return None


def _uses(pod: Pod) -> bool:
    """Whether a pod keeps its claims: it has a node, and has not ended."""
    return bool(pod.spec.nodeName) and pod.status.phase not in _ENDED


class VolumeProtection:
    name = "pv-protection"
    watches: tuple[Kind, ...] = (kinds.PERSISTENT_VOLUME,)

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        if event.new is not None and event.new.message.metadata.deletionTimestamp.seconds:
            yield event.row.key.removeprefix(kinds.PERSISTENT_VOLUME.prefix)

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        volume = tx.get(kinds.PERSISTENT_VOLUME, "", key)
        if volume is not None and volume.metadata.deletionTimestamp.seconds and volume.status.phase != BOUND:
            _remove(tx, kinds.PERSISTENT_VOLUME, volume, FINALIZER_VOLUME_PROTECTION)
        return None


def _remove(tx: Tx, kind: Kind[Any], message: Any, finalizer: str) -> None:
    if finalizer in message.metadata.finalizers:
        message.metadata.finalizers.remove(finalizer)
        verbs.settle(tx, kind, message)
