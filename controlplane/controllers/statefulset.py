"""Keeps the pods of a StatefulSet: NAME-0, NAME-1 and so on. Root kind: StatefulSet.

A pod's name is its identity, and the store has each name once, so no two pods ever have one identity: a pod is created again
only when its object is gone, which its agent reports or an administrator forces. OrderedReady goes one step at a time;
Parallel creates and deletes all that is due.
Source: kube-controller-manager's stateful_set_control.go and stateful_set_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controlplane.controllers import history, podcontrol, setclaims
from controlplane.controllers.podcontrol import BATCH, PodControl, Workload
from controlplane.controllers.runner import Moment, Requeue
from controlplane.controllers.setclaims import SetClaims
from controlplane.requests import verbs
from controlplane.store import Event, Tx
from pinnace import codec, intorpercent, kinds
from pinnace.admission.statefulsets import PARALLEL, ROLLING_UPDATE
from pinnace.apps.v1.controllerrevision_pb2 import ControllerRevision
from pinnace.apps.v1.statefulset_pb2 import StatefulSet
from pinnace.clock import Ids, RandomIds
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.core.v1.podtemplate_pb2 import PodTemplateSpec
from pinnace.errors import ApiError
from pinnace.kinds import Kind
from pinnace.meta.v1.meta_pb2 import ObjectMeta

POD_NAME, POD_INDEX = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"
# Seconds until a pod that was rejected is tried again.
RETRY = 10.0


class StatefulSets:
    name = "statefulset"
    watches: tuple[Kind, ...] = (
        kinds.STATEFUL_SET, kinds.CONTROLLER_REVISION, kinds.POD, kinds.PERSISTENT_VOLUME_CLAIM,
    )  # fmt: skip

    def __init__(self, ids: Ids | None = None) -> None:
        self._control = PodControl("statefulset-controller", ids or RandomIds())

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        if event.row.kind is not kinds.PERSISTENT_VOLUME_CLAIM:
            yield from podcontrol.keys(event, view, kinds.STATEFUL_SET)
        elif event.new is None:
            # Its pod may wait for another claim of the name.
            key = "/".join(event.row.key.rsplit("/", 2)[1:])
            yield from setclaims.waiting(view, key)

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace, _, name = key.partition("/")
        item = tx.get(kinds.STATEFUL_SET, namespace, name)
        if item is None:
            return None
        return _Round(tx, item, self._control, now.wall).run()


def ordinal(item: StatefulSet, pod: Pod) -> int | None:
    """The number in a pod's name; None for a pod of another name."""
    parent, _, text = pod.metadata.name.rpartition("-")
    if parent != item.metadata.name or not text.isascii() or not text.isdigit() or len(text) > 9:
        return None
    return int(text) if text == str(int(text)) else None


class _Round:
    """One reconciliation of one StatefulSet."""

    def __init__(self, tx: Tx, item: StatefulSet, control: PodControl, now: float) -> None:
        self._tx = tx
        self._item = item
        self._control = control
        self._now = now
        self._owner = Workload(kinds.STATEFUL_SET, item)
        self._waits: list[float] = []
        self._steps = 0
        claimed = podcontrol.claim(tx, self._owner, item.spec.selector, kinds.POD)
        self._pods: dict[int, Pod] = {
            number: pod for pod in claimed if (number := ordinal(item, pod)) is not None
        }  # fmt: skip
        first = item.spec.ordinals.start
        self._wanted = range(first, first + item.spec.replicas)
        self._revisions = history.History(tx, self._owner, control, now)
        self._claims = SetClaims(tx, self._owner, control, now)

    def run(self) -> Requeue | None:
        """Raises ApiError."""
        if self._owner.deleting:
            self._observe_deletion()
            return None
        if podcontrol.namespace_ends(self._tx, self._owner.namespace):
            return None
        update = self._revisions.current()
        for number, pod in self._pods.items():
            self._claims.own(pod, surplus=number not in self._wanted)
        current = self._current_revision(update)
        if self._fill(current, update) and self._empty() and self._item.spec.updateStrategy.type == ROLLING_UPDATE:
            self._roll(update)
        self._observe(current, update)
        used = frozenset(_revision_of(pod) for pod in self._pods.values())
        used |= {current.metadata.name}
        self._revisions.clean_up(update, used, self._item.spec.revisionHistoryLimit)
        return Requeue(min(self._waits)) if self._waits else None

    def _current_revision(self, update: ControllerRevision) -> ControllerRevision:
        """That which the pods had before the present rollout."""
        name = self._item.status.currentRevision
        return next((item for item in self._revisions.all if item.metadata.name == name), update)

    @property
    def _ordered(self) -> bool:
        return self._item.spec.podManagementPolicy != PARALLEL

    def _may_step(self) -> bool:
        """Whether this transaction takes another pod; the next one continues."""
        if self._steps and (self._steps >= BATCH or self._tx.full):
            self._waits.append(0.0)
            return False
        self._steps += 1
        return True

    def _fill(self, current: ControllerRevision, update: ControllerRevision) -> bool:
        """Create missing pods, in order; whether nothing stands in the way of later steps."""
        for number in self._wanted:
            pod = self._pods.get(number)
            if pod is not None and pod.status.phase in podcontrol.ENDED and not pod.metadata.deletionTimestamp.seconds:
                self._delete(number)
                return False
            if pod is not None and setclaims.is_pending(pod) and not self._claims.make(pod):
                self._waits.append(RETRY)
            if pod is None:
                if not self._may_step() or not self._create(number, current, update) or self._ordered:
                    return False
            elif self._ordered and not self._is_available(pod):
                return False
            else:
                self._label(pod)
        return True

    def _label(self, pod: Pod) -> None:
        """Restore the labels of a pod's identity, which one that was adopted may not have, or a client removed."""
        name, number = pod.metadata.name, str(ordinal(self._item, pod))
        if pod.metadata.deletionTimestamp.seconds or all(
            pod.metadata.labels.get(label) == value for label, value in ((POD_NAME, name), (POD_INDEX, number))
        ):
            return
        stored = self._tx.require(kinds.POD, self._owner.namespace, name)
        stored.metadata.labels.update({POD_NAME: name, POD_INDEX: number})
        self._tx.put(kinds.POD, stored)
        self._pods[int(number)] = stored
        self._report("update", pod)

    def _empty(self) -> bool:
        """Delete pods beyond the wanted ones, the highest first; whether none is left."""
        surplus = sorted((number for number in self._pods if number not in self._wanted), reverse=True)
        unhealthy = [number for number in sorted(self._pods) if not self._is_available(self._pods[number])]
        for number in surplus:
            pod = self._pods[number]
            if pod.metadata.deletionTimestamp.seconds:
                if self._ordered:
                    return False
                continue
            if self._ordered and not self._is_available(pod) and unhealthy[:1] != [number]:
                # Another one is to recover first.
                return False
            if not self._may_step():
                return False
            self._delete(number)
            if self._ordered:
                return False
        return not surplus

    def _roll(self, update: ControllerRevision) -> None:
        """Delete pods of earlier templates from the highest ordinal down, as many as may be unavailable."""
        bounds = self._item.spec.updateStrategy.rollingUpdate
        most = max(intorpercent.scaled(bounds.maxUnavailable, self._item.spec.replicas, round_up=False), 1)
        unavailable = sum(not self._is_available(self._pods[number]) for number in self._wanted if number in self._pods)
        for number in reversed(self._wanted):
            if number < self._wanted.start + bounds.partition:
                return
            pod = self._pods.get(number)
            if pod is None:
                return
            if _revision_of(pod) == update.metadata.name or pod.metadata.deletionTimestamp.seconds:
                if not self._is_available(pod) and unavailable >= most:
                    return
                continue
            # One that is ready serves, also while it is not available yet and so counted already.
            if podcontrol.ready_since(pod) is not None:
                if unavailable >= most:
                    return
                unavailable += self._is_available(pod)
            if not self._may_step():
                return
            self._delete(number)

    def _create(self, number: int, current: ControllerRevision, update: ControllerRevision) -> bool:
        revision = current if self._keeps_revision(number) else update
        pod = self._pod(number, revision)
        if not self._claims.make(pod):
            self._waits.append(RETRY)
            return False
        try:
            verbs.create(self._tx, kinds.POD, pod, self._control.call(self._now))
        except ApiError as error:
            self._report("create", pod, str(error))
            self._waits.append(RETRY)
            return False
        self._report("create", pod)
        self._pods[number] = pod
        return True

    def _keeps_revision(self, number: int) -> bool:
        """Whether a pod below the partition is made again of the earlier template."""
        strategy = self._item.spec.updateStrategy
        return strategy.type == ROLLING_UPDATE and number < self._wanted.start + strategy.rollingUpdate.partition

    def _pod(self, number: int, revision: ControllerRevision) -> Pod:
        name = f"{self._item.metadata.name}-{number}"
        pod = podcontrol.make(self._template(revision), self._owner)
        pod.metadata.name = name
        pod.metadata.labels.update({history.HASH: revision.metadata.name, POD_NAME: name, POD_INDEX: str(number)})
        pod.spec.hostname, pod.spec.subdomain = name, self._item.spec.serviceName
        self._claims.mount(pod)
        return pod

    def _template(self, revision: ControllerRevision) -> Any:
        data = history.data_of(self._item.spec.template)
        if revision.data.raw == data:
            return self._item.spec.template
        return codec.decode(PodTemplateSpec, history.template_in(revision))

    def _report(self, verb: str, pod: Pod, error: str = "") -> None:
        """An event in the words of this controller, which differ from those of the others."""
        outcome, end = ("Failed", f"failed error: {error}") if error else ("Successful", "successful")
        text = f"{verb} Pod {pod.metadata.name} in StatefulSet {self._item.metadata.name} {end}"
        self._control.event(self._tx, self._owner, outcome + verb.title(), text, self._now, warning=bool(error))

    def _delete(self, number: int) -> None:
        pod, meta = self._pods[number], self._pods[number].metadata
        verbs.delete(self._tx, kinds.POD, meta.namespace, meta.name, self._control.call(self._now), uid=meta.uid)
        self._report("delete", pod)

    def _is_available(self, pod: Pod) -> bool:
        return not pod.metadata.deletionTimestamp.seconds and self._has_been_ready(pod)

    def _has_been_ready(self, pod: Pod) -> bool:
        """Whether a pod runs and is ready for minReadySeconds, also while it is terminating."""
        if pod.status.phase != "Running":
            return False
        left = podcontrol.until_available(pod, self._item.spec.minReadySeconds, self._now)
        if left is not None and left > 0:
            self._waits.append(left)
        return left is not None and left <= 0

    def _observe(self, current: ControllerRevision, update: ControllerRevision) -> None:
        """Write the status. A rollout has ended when all wanted pods, and no others, are of the present template and ready."""
        status, pods = self._item.status, list(self._pods.values())
        live = [pod for pod in pods if not pod.metadata.deletionTimestamp.seconds]
        status.replicas = len(pods)
        status.readyReplicas = sum(podcontrol.ready_since(pod) is not None for pod in pods)
        status.availableReplicas = sum(self._has_been_ready(pod) for pod in pods)
        status.updatedReplicas = sum(_revision_of(pod) == update.metadata.name for pod in live)
        status.currentReplicas = sum(_revision_of(pod) == current.metadata.name for pod in live)
        status.currentRevision, status.updateRevision = current.metadata.name, update.metadata.name
        status.observedGeneration = self._item.metadata.generation
        rolls = self._item.spec.updateStrategy.type == ROLLING_UPDATE
        if rolls and status.updatedReplicas == status.replicas == status.readyReplicas == self._item.spec.replicas:
            status.currentRevision, status.currentReplicas = update.metadata.name, status.updatedReplicas
        verbs.update_status(self._tx, kinds.STATEFUL_SET, self._item, self._control.call(self._now))

    def _observe_deletion(self) -> None:
        """Count the pods of a set that is being deleted; its revisions may be gone, their names are not."""
        status = self._item.status
        current, update = (
            ControllerRevision(metadata=ObjectMeta(name=name)) for name in (status.currentRevision, status.updateRevision)
        )
        self._observe(current, update)


def _revision_of(pod: Pod) -> str:
    """The name of the revision that a pod was made of."""
    return str(pod.metadata.labels.get(history.HASH, ""))
