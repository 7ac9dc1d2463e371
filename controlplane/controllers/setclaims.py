"""Claims of the pods of a StatefulSet: made before their pod, kept after it, and owned according to the retention policy.

Owners decide about deletion: the garbage collector deletes a claim that the set owns with the set, and one that a pod owns with
that pod.
Source: kube-controller-manager's stateful_pod_control.go and stateful_set_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from controlplane.controllers import podcontrol
from controlplane.controllers.podcontrol import PodControl, Workload
from controlplane.requests import verbs
from controlplane.store import Tx
from pinnace import kinds
from pinnace.admission.statefulsets import DELETE
from pinnace.core.v1.persistentvolumeclaim_pb2 import PersistentVolumeClaim
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.errors import ApiError
from pinnace.messages import clone


class SetClaims:
    """The claims of one StatefulSet."""

    def __init__(self, tx: Tx, owner: Workload, control: PodControl, now: float) -> None:
        self._tx = tx
        self._owner = owner
        self._control = control
        self._now = now
        self._templates = list(owner.message.spec.volumeClaimTemplates)

    def mount(self, pod: Pod) -> None:
        """Have a new pod's volumes of the templates' names lead to its claims."""
        if not self._templates:
            return
        names = {template.metadata.name for template in self._templates}
        kept = [clone(volume) for volume in pod.spec.volumes if volume.name not in names]
        del pod.spec.volumes[:]
        for template in self._templates:
            volume = pod.spec.volumes.add(name=template.metadata.name)
            volume.volumeSource.persistentVolumeClaim.claimName = f"{template.metadata.name}-{pod.metadata.name}"
        pod.spec.volumes.extend(kept)

    def make(self, pod: Pod) -> bool:
        """Make the claims of a pod that are missing; whether all are there, and the pod may be created. An event has the reason
        why not."""
        for template in self._templates:
            name = f"{template.metadata.name}-{pod.metadata.name}"
            found = self._tx.get(kinds.PERSISTENT_VOLUME_CLAIM, self._owner.namespace, name)
            if found is None:
                if not self._create(template, name, pod):
                    return False
            elif found.metadata.deletionTimestamp.seconds or self._is_stale(found):
                self._failed(name, pod, f"pvc {name} is being deleted")
                return False
        return True

    def _is_stale(self, claim: PersistentVolumeClaim) -> bool:
        """Whether an earlier pod owns it, which is gone: the garbage collector is about to delete it."""
        for reference in claim.metadata.ownerReferences:
            if (reference.apiVersion, reference.kind) == (kinds.POD.api_version, kinds.POD.kind):
                pod = self._tx.get(kinds.POD, self._owner.namespace, reference.name)
                if pod is None or pod.metadata.uid != reference.uid:
                    return True
        return False

    def _create(self, template: Any, name: str, pod: Pod) -> bool:
        claim = PersistentVolumeClaim(spec=template.spec)
        claim.metadata.name, claim.metadata.namespace = name, self._owner.namespace
        claim.metadata.labels.update(template.metadata.labels)
        claim.metadata.labels.update(self._owner.message.spec.selector.matchLabels)
        claim.metadata.annotations.update(template.metadata.annotations)
        if self._policy.whenDeleted == DELETE:
            self._owner.own(claim)
        try:
            verbs.create(self._tx, kinds.PERSISTENT_VOLUME_CLAIM, claim, self._control.call(self._now))
        except ApiError as error:
            self._failed(name, pod, str(error))
            return False
        text = f"create Claim {name} Pod {pod.metadata.name} in StatefulSet {self._owner.message.metadata.name} success"
        self._control.event(self._tx, self._owner, "SuccessfulCreate", text, self._now)
        return True

    def _failed(self, name: str, pod: Pod, why: str) -> None:
        whose = f"Pod {pod.metadata.name} in StatefulSet {self._owner.message.metadata.name}"
        text = f"create Claim {name} for {whose} failed error: {why}"
        self._control.event(self._tx, self._owner, "FailedCreate", text, self._now, warning=True)

    @property
    def _policy(self) -> Any:
        return self._owner.message.spec.persistentVolumeClaimRetentionPolicy

    def own(self, pod: Pod, *, surplus: bool) -> None:
        """Set the owners of the claims of a pod according to the policy; `surplus`: the pod is beyond the wanted ones."""
        by_pod = surplus and self._policy.whenScaled == DELETE
        wanted = Workload(kinds.POD, pod) if by_pod else self._owner if self._policy.whenDeleted == DELETE else None
        for claim in self._of(pod):
            mine = {self._owner.uid, pod.metadata.uid}
            others = [reference for reference in claim.metadata.ownerReferences if reference.uid not in mine]
            if any(reference.controller for reference in others):
                # Another's claim, which it may delete.
                continue
            changed = clone(claim)
            del changed.metadata.ownerReferences[:]
            changed.metadata.ownerReferences.extend(others)
            if wanted is not None:
                wanted.own(changed)
            if changed != claim:
                self._tx.put(kinds.PERSISTENT_VOLUME_CLAIM, changed)

    def _of(self, pod: Pod) -> Iterator[PersistentVolumeClaim]:
        """The claims of a pod that are there and stay."""
        for template in self._templates:
            name = f"{template.metadata.name}-{pod.metadata.name}"
            found = self._tx.get(kinds.PERSISTENT_VOLUME_CLAIM, self._owner.namespace, name)
            if found is not None and not found.metadata.deletionTimestamp.seconds and not self._is_stale(found):
                yield found


def waiting(view: Tx, key: str) -> Iterator[str]:
    """Keys of the sets that a claim, `namespace/name`, may be of: NAME-0 is of the set that its name ends with."""
    namespace, _, name = key.partition("/")
    parts = name.split("-")[:-1]
    for start in range(1, len(parts)):
        if view.get_untracked(kinds.STATEFUL_SET, namespace, "-".join(parts[start:])) is not None:
            yield f"{namespace}/{'-'.join(parts[start:])}"


def is_pending(pod: Pod) -> bool:
    """Whether a pod has not begun, for which a claim may still be missing."""
    return pod.status.phase in ("", "Pending") and podcontrol.is_active(pod)
