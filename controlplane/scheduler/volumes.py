"""Claims, volumes and storage classes as the scheduler sees them: what claims are bound to, and what they could get.

The objects are those of the store; nothing here changes them.
Source: kube-scheduler's volumebinding plugin (binder.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from controlplane import volumematching
from controlplane.scheduler.podinfo import PodInfo
from controlplane.store import Event
from pinnace import kinds, nodeselectors, persistentvolumes
from pinnace.core.v1.persistentvolume_pb2 import PersistentVolume
from pinnace.core.v1.persistentvolumeclaim_pb2 import PersistentVolumeClaim
from pinnace.kinds import Kind
from pinnace.nodeselectors import Term
from pinnace.persistentvolumes import WAIT_FOR_FIRST_CONSUMER, PodClaim, class_of_claim, class_of_volume
from pinnace.selectors import Requirement
from pinnace.storage.v1.storageclass_pb2 import StorageClass
from pinnace.wellknown import BIND_COMPLETED, NO_PROVISIONER, SELECTED_NODE

KINDS: tuple[Kind, ...] = (kinds.PERSISTENT_VOLUME_CLAIM, kinds.PERSISTENT_VOLUME, kinds.STORAGE_CLASS)


class VolumeStep(NamedTuple):
    """What the scheduler does for a claim: reserve a volume, or (empty) have one made on the node."""

    claim: str
    volume: str


class Volumes:
    """Kept up to date by events. Claims are known by `namespace/name`."""

    def __init__(self) -> None:
        self._objects: dict[Kind, dict[str, Any]] = {kind: {} for kind in KINDS}
        # Names of volumes by claim, and of those that no claim has by class.
        self._by_claim: dict[str, dict[str, None]] = {}
        self._free: dict[str, dict[str, None]] = {}

    def note(self, event: Event) -> None:
        """Take in a change of one of KINDS."""
        kind, name = event.row.kind, event.row.key.removeprefix(event.row.kind.prefix)
        old = self._objects[kind].pop(name, None)
        new = event.new.message if event.new is not None else None
        if new is not None:
            self._objects[kind][name] = new
        if kind is kinds.PERSISTENT_VOLUME:
            self._index(name, old, new)

    def _index(self, name: str, old: PersistentVolume | None, new: PersistentVolume | None) -> None:
        if old is not None:
            table, key = self._place(old)
            found = table[key]
            del found[name]
            if not found:
                del table[key]
        if new is not None:
            table, key = self._place(new)
            table.setdefault(key, {})[name] = None

    def _place(self, volume: PersistentVolume) -> tuple[dict[str, dict[str, None]], str]:
        if volume.spec.HasField("claimRef"):
            return self._by_claim, f"{volume.spec.claimRef.namespace}/{volume.spec.claimRef.name}"
        return self._free, class_of_volume(volume)

    def claim(self, pod: PodInfo, item: PodClaim) -> PersistentVolumeClaim | None:
        found: PersistentVolumeClaim | None = self._objects[kinds.PERSISTENT_VOLUME_CLAIM].get(claim_key(pod, item))
        return found

    def volume(self, name: str) -> PersistentVolume | None:
        found: PersistentVolume | None = self._objects[kinds.PERSISTENT_VOLUME].get(name)
        return found

    def storage_class(self, claim: PersistentVolumeClaim) -> StorageClass | None:
        found: StorageClass | None = self._objects[kinds.STORAGE_CLASS].get(class_of_claim(claim))
        return found

    def unbound(self, pod: PodInfo) -> list[PersistentVolumeClaim]:
        """The claims of a pod that are not bound, the smallest first; those that do not exist are left out."""
        found = (self.claim(pod, item) for item in pod.claims)
        return sorted(
            (claim for claim in found if claim is not None and not is_bound(claim)),
            key=lambda claim: (persistentvolumes.request(claim), claim.metadata.name),
        )

    def waits_for_consumer(self, claim: PersistentVolumeClaim) -> bool:
        found = self.storage_class(claim)
        return found is not None and found.volumeBindingMode == WAIT_FOR_FIRST_CONSUMER

    def candidates(self, claim: PersistentVolumeClaim) -> list[PersistentVolume]:
        """Volumes that the claim may get, in the order of preference; one that is reserved for it alone."""
        reserved = self._named(self._by_claim.get(f"{claim.metadata.namespace}/{claim.metadata.name}", ()))
        for volume in reserved:
            if volumematching.is_reserved_for(volume, claim):
                return [volume]
        free = self._named(self._free.get(class_of_claim(claim), ()))
        return sorted((volume for volume in free if volumematching.is_free_for(volume, claim)), key=volumematching.order)

    def _named(self, names: Iterable[str]) -> Iterator[PersistentVolume]:
        return (found for name in names if (found := self.volume(name)) is not None)

    def provisionable(self, claim: PersistentVolumeClaim) -> tuple[Term, ...] | None:
        """Terms of which a node must match one for a volume to be made there; no terms: any node does; None: none is made."""
        found = self.storage_class(claim)
        if found is None or found.provisioner in ("", NO_PROVISIONER):
            return None
        return tuple(
            Term(tuple(Requirement(item.key, "In", tuple(item.values)) for item in term.matchLabelExpressions))
            for term in found.allowedTopologies
        )

    def in_progress(self, pod: PodInfo) -> bool:
        """Whether every claim that is not bound is about to be: a volume is reserved for it, or its node is chosen."""
        waiting = self.unbound(pod)
        return bool(waiting) and all(self._is_chosen(claim) for claim in waiting)

    def _is_chosen(self, claim: PersistentVolumeClaim) -> bool:
        if selected_node(claim):
            return True
        names = self._by_claim.get(f"{claim.metadata.namespace}/{claim.metadata.name}", ())
        return any(volume.spec.claimRef.uid == claim.metadata.uid for volume in self._named(names))


def claim_key(pod: PodInfo, item: PodClaim) -> str:
    return f"{pod.key.partition('/')[0]}/{item.name}"


def is_bound(claim: PersistentVolumeClaim) -> bool:
    return bool(claim.spec.volumeName) and BIND_COMPLETED in claim.metadata.annotations


def selected_node(claim: PersistentVolumeClaim) -> str:
    return str(claim.metadata.annotations.get(SELECTED_NODE, ""))


def reachable(volume: PersistentVolume) -> tuple[Term, ...] | None:
    """The terms of a volume's node affinity; None: every node can reach it."""
    affinity = volume.spec.nodeAffinity
    return nodeselectors.terms(affinity.required) if affinity.HasField("required") else None
