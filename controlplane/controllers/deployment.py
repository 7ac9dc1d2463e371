"""Rolls out the template of a Deployment through ReplicaSets, one for each version. Root kind: Deployment.

A reconciliation makes one step (a ReplicaSet is created, grows or shrinks) and writes the status; the statuses of the
ReplicaSets bring the next one. How far a step goes is arithmetic in `rollout`; conditions are in `deploymentstatus`.
Source: kube-controller-manager's deployment controller (deployment_controller.go, sync.go, rolling.go, recreate.go).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from controlplane import conditions
from controlplane.controllers import deploymentstatus, podcontrol, revisions, rollback, rollout
from controlplane.controllers.podcontrol import PodControl, Workload
from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import statusfields, verbs
from controlplane.resources.indexes import OWNER
from controlplane.store import Event, Tx
from pinnace import kinds
from pinnace.admission.deployments import RECREATE
from pinnace.apps.v1.deployment_pb2 import Deployment
from pinnace.apps.v1.replicaset_pb2 import ReplicaSet
from pinnace.clock import Ids, RandomIds
from pinnace.equality import same
from pinnace.errors import AlreadyExists, ApiError
from pinnace.kinds import Kind
from pinnace.messages import clone

# Why a ReplicaSet could not be created; seconds until the next try.
CREATE_ERROR, RETRY = "ReplicaSetCreateError", 10.0


class Deployments:
    name = "deployment"
    watches: tuple[Kind, ...] = (kinds.DEPLOYMENT, kinds.REPLICA_SET, kinds.POD)

    def __init__(self, ids: Ids | None = None) -> None:
        self._control = PodControl("deployment-controller", ids or RandomIds())

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        if event.row.kind is not kinds.POD:
            return podcontrol.keys(event, view, kinds.DEPLOYMENT)
        return _of_pod(event.old.message, view) if event.old is not None and _ended(event) else ()

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace, _, name = key.partition("/")
        item = tx.get(kinds.DEPLOYMENT, namespace, name)
        if item is None:
            return None
        return Rollout(tx, item, self._control, now.wall).step()


def _ended(event: Event) -> bool:
    """Whether a pod is gone or has ended: what a Deployment with the strategy Recreate waits for."""
    return event.new is None or event.new.message.status.phase in podcontrol.ENDED


def _of_pod(pod: Any, view: Tx) -> Iterable[str]:
    key = podcontrol.owner_key(pod, kinds.REPLICA_SET)
    row = view.get_untracked(kinds.REPLICA_SET, *key.split("/")) if key else None
    found = podcontrol.owner_key(row.message, kinds.DEPLOYMENT) if row is not None else None
    return [found] if found else []


@dataclass(frozen=True, slots=True)
class Sets:
    """The ReplicaSets of a Deployment: that of the present template, and the others."""

    new: ReplicaSet | None
    old: list[ReplicaSet]

    @property
    def all(self) -> list[ReplicaSet]:
        return [*self.old, *([self.new] if self.new is not None else [])]


class Rollout:
    """One reconciliation of one Deployment."""

    def __init__(self, tx: Tx, item: Deployment, control: PodControl, now: float) -> None:
        self._tx = tx
        self._item = item
        self._stored = clone(item)
        self._control = control
        self._owner = Workload(kinds.DEPLOYMENT, item)
        self._now = now

    def step(self) -> Requeue | None:
        """Raises ApiError."""
        item = self._item
        claimed = podcontrol.claim(self._tx, self._owner, item.spec.selector, kinds.REPLICA_SET)
        new = revisions.find_new(item, claimed)
        sets = Sets(new, [each for each in claimed if each is not new])
        if self._owner.deleting or podcontrol.namespace_ends(self._tx, item.metadata.namespace):
            return self._observe(sets)
        deploymentstatus.note_pause(item, self._now)
        revision = rollback.requested(item) if not item.spec.paused else None
        if revision is not None:
            return self._roll_back(sets, revision)
        if item.spec.paused or rollout.is_scaled(item, sets.all):
            return self._resize(self._number(sets))
        if item.spec.strategy.type == RECREATE:
            return self._recreate(sets)
        return self._roll(sets)

    def _roll_back(self, sets: Sets, revision: int) -> Requeue | None:
        """The changed template brings the next reconciliation. The present one gets its ReplicaSet before, to return to."""
        sets = self._number(sets) if sets.new is not None else self._create(sets)
        done = rollback.perform(self._item, sets.all, revision)
        done.item.metadata.resourceVersion = ""
        verbs.update(self._tx, kinds.DEPLOYMENT, done.item, self._control.call(self._now))
        self._control.event(self._tx, self._owner, done.reason, done.message, self._now, warning=done.warning)
        return None

    def _resize(self, sets: Sets) -> Requeue | None:
        """A changed number of replicas, or a pause: no step of a rollout."""
        changed = self._apply(sets, rollout.scale(self._item, sets.new, sets.old))
        if self._item.spec.paused and changed is sets:
            self._clean_up(sets)
        return self._observe(changed, judged=False)

    def _roll(self, sets: Sets) -> Requeue | None:
        sets = self._number(sets) if sets.new is not None else self._create(sets)
        new = sets.new
        if new is None:
            return self._observe_missing(sets)
        size = rollout.new_size(self._item, sets.old, new.spec.replicas)
        grown = self._apply(sets, {new.metadata.name: size} if size != new.spec.replicas else {})
        if grown is not sets:
            return self._observe(grown)
        shrunk = self._apply(sets, rollout.scale_down(self._item, new, sets.old))
        return self._observe(shrunk, complete=shrunk is sets)

    def _recreate(self, sets: Sets) -> Requeue | None:
        """The new pods after all old ones have ended."""
        shrunk = self._apply(sets, {each.metadata.name: 0 for each in rollout.active(sets.old)})
        if shrunk is not sets or self._old_pods(sets):
            return self._observe(shrunk)
        sets = self._number(sets) if sets.new is not None else self._create(sets)
        new = sets.new
        if new is None:
            return self._observe_missing(sets)
        if new.spec.replicas == self._item.spec.replicas:
            return self._observe(sets, complete=True)
        return self._observe(self._apply(sets, {new.metadata.name: self._item.spec.replicas}))

    def _old_pods(self, sets: Sets) -> bool:
        """Whether pods of earlier templates still run."""
        if any(each.status.replicas for each in sets.old):
            return True
        rows = (row for each in sets.old for row in self._tx.by_index(kinds.POD, OWNER, each.metadata.uid))
        return any(row.message.status.phase not in podcontrol.ENDED for row in rows)

    def _create(self, sets: Sets) -> Sets:
        """The ReplicaSet of the present template. Its name may be taken by another template: the next try has another one."""
        item, found = self._item, revisions.build(self._item, sets.old)
        self._owner.own(found)
        try:
            verbs.create(self._tx, kinds.REPLICA_SET, found, self._control.call(self._now))
        except AlreadyExists:
            item.status.collisionCount += 1
            return sets
        except ApiError as error:
            text = f'Failed to create new replica set "{found.metadata.name}": {error}'
            deploymentstatus.progress(item, CREATE_ERROR, text, self._now, value="False")
            self._control.event(self._tx, self._owner, CREATE_ERROR, text, self._now, warning=True)
            return sets
        self._report(found, 0, found.spec.replicas)
        text = f'Created new replica set "{found.metadata.name}"'
        deploymentstatus.progress(item, "NewReplicaSetCreated", text, self._now)
        item.metadata.annotations[revisions.REVISION] = found.metadata.annotations[revisions.REVISION]
        return Sets(found, sets.old)

    def _number(self, sets: Sets) -> Sets:
        """Annotations and minReadySeconds of the present template's ReplicaSet, which may be an earlier one in use again."""
        if sets.new is None:
            return sets
        new = clone(sets.new)
        revisions.annotate(self._item, new, revisions.next_number(sets.old), exists=True)
        new.spec.minReadySeconds = self._item.spec.minReadySeconds
        if not same(new, sets.new):
            new = self._update(new)
        self._item.metadata.annotations[revisions.REVISION] = new.metadata.annotations[revisions.REVISION]
        if conditions.find(self._item.status, deploymentstatus.PROGRESSING) is None:
            text = f'Found new replica set "{new.metadata.name}"'
            deploymentstatus.progress(self._item, "FoundNewReplicaSet", text, self._now)
        return Sets(new, sets.old)

    def _apply(self, sets: Sets, sizes: rollout.Sizes) -> Sets:
        """Give ReplicaSets their sizes, and annotate the Deployment's; the same `sets` when none changes."""
        if not sizes:
            return sets
        changed = {each.metadata.name: self._size(each, sizes) for each in sets.all}
        if all(changed[each.metadata.name] is each for each in sets.all):
            return sets
        new = changed[sets.new.metadata.name] if sets.new is not None else None
        return Sets(new, [changed[each.metadata.name] for each in sets.old])

    def _size(self, each: ReplicaSet, sizes: rollout.Sizes) -> ReplicaSet:
        size = sizes.get(each.metadata.name, each.spec.replicas)
        resized = clone(each)
        resized.spec.replicas = size
        if size or each.metadata.name in sizes:
            revisions.annotate_sizes(self._item, resized)
        if same(resized, each):
            return each
        if size != each.spec.replicas:
            self._report(each, each.spec.replicas, size)
        return self._update(resized)

    def _update(self, changed: ReplicaSet) -> ReplicaSet:
        changed.metadata.resourceVersion = ""
        return verbs.update(self._tx, kinds.REPLICA_SET, changed, self._control.call(self._now))

    def _report(self, each: ReplicaSet, before: int, size: int) -> None:
        if before == size:
            return
        verb = "up" if size > before else "down"
        text = f"Scaled {verb} replica set {each.metadata.name} from {before} to {size}"
        self._control.event(self._tx, self._owner, "ScalingReplicaSet", text, self._now)

    def _clean_up(self, sets: Sets) -> None:
        for each in revisions.superfluous(self._item, sets.old):
            meta = each.metadata
            verbs.delete(self._tx, kinds.REPLICA_SET, meta.namespace, meta.name, self._control.call(self._now), uid=meta.uid)

    def _observe_missing(self, sets: Sets) -> Requeue | None:
        """After the ReplicaSet of the present template could not be created, which is no matter of progress."""
        return self._observe(sets, judged=False) or Requeue(RETRY)

    def _observe(self, sets: Sets, *, judged: bool = True, complete: bool = False) -> Requeue | None:
        """Write the status; requeue at the deadline. `complete`: no step was left, so that old ReplicaSets may go."""
        item, before = self._item, clone(self._stored.status)
        deploymentstatus.count(item, sets.all, sets.new, self._now)
        if complete and deploymentstatus.is_complete(item):
            self._clean_up(sets)
        left = deploymentstatus.judge(item, before, sets.all, sets.new, self._now) if judged else None
        if not same(item, self._stored):
            statusfields.record(kinds.DEPLOYMENT, self._stored, item, manager=podcontrol.MANAGER, now=self._now)
            verbs.settle(self._tx, kinds.DEPLOYMENT, item)
        if item.status.collisionCount != self._stored.status.collisionCount:
            return Requeue(0.0)
        return Requeue(left) if left is not None else None
