"""Keeps one pod on every node that a DaemonSet's template allows. Root kind: DaemonSet.

A pod selects its node by node affinity, so the scheduler still decides whether there is room. One transaction creates and
deletes up to BATCH pods and writes the status.
Source: kube-controller-manager's daemon controller (daemon_controller.go, update.go, util/daemonset_util.go).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from controlplane.controllers import daemonnodes, history, podcontrol
from controlplane.controllers.daemonnodes import Eligibility
from controlplane.controllers.failedpods import FailedPods
from controlplane.controllers.podcontrol import BATCH, PodControl, Workload
from controlplane.controllers.runner import Moment, Requeue
from controlplane.requests import verbs
from controlplane.store import Event, Tx
from pinnace import intorpercent, kinds
from pinnace.admission.daemonsets import ROLLING_UPDATE
from pinnace.apps.v1.controllerrevision_pb2 import ControllerRevision
from pinnace.apps.v1.daemonset_pb2 import DaemonSet
from pinnace.clock import Ids, RandomIds
from pinnace.core.v1.node_pb2 import Node
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.errors import ApiError
from pinnace.kinds import Kind

# Seconds until a pod that was rejected is tried again.
RETRY = 10.0


class DaemonSets:
    name = "daemonset"
    watches: tuple[Kind, ...] = (kinds.DAEMON_SET, kinds.CONTROLLER_REVISION, kinds.POD, kinds.NODE)

    def __init__(self, ids: Ids | None = None) -> None:
        self._control = PodControl("daemonset-controller", ids or RandomIds())
        self._failed = FailedPods()

    def keys(self, event: Event, view: Tx, watched: float) -> Iterable[str]:
        if event.row.kind is not kinds.NODE:
            return podcontrol.keys(event, view, kinds.DAEMON_SET)
        every = view.list_untracked(kinds.DAEMON_SET) if _moves_pods(event) else ()
        return ["/".join(row.key.rsplit("/", 2)[1:]) for row in every]

    def reconcile(self, tx: Tx, key: str, now: Moment) -> Requeue | None:
        namespace, _, name = key.partition("/")
        item = tx.get(kinds.DAEMON_SET, namespace, name)
        if item is None or item.metadata.deletionTimestamp.seconds or podcontrol.namespace_ends(tx, namespace):
            return None
        return _Round(tx, item, self._control, self._failed, now).run()


def _moves_pods(event: Event) -> bool:
    """Whether a change of a node may concern where pods run: its existence, labels, or taints."""
    if event.old is None or event.new is None:
        return True
    old, new = event.old.message, event.new.message
    return bool(list(old.spec.taints) != list(new.spec.taints) or dict(old.metadata.labels) != dict(new.metadata.labels))


@dataclass
class _Plan:
    """What one round changes: nodes that get a pod, and pods that go, with a reason for an event where there is one."""

    create: list[Node] = field(default_factory=list)
    delete: dict[str, tuple[Pod, str]] = field(default_factory=dict)

    def remove(self, pod: Pod, why: str = "") -> None:
        if not pod.metadata.deletionTimestamp.seconds:
            self.delete.setdefault(pod.metadata.name, (pod, why))


class _Room:
    """Pods that one transaction may still create or delete."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._taken = 0

    def take(self) -> bool:
        """The first always fits."""
        if self._taken and (self._taken >= BATCH or self._tx.full):
            return False
        self._taken += 1
        return True


class _Round:
    """One reconciliation of one DaemonSet."""

    def __init__(self, tx: Tx, item: DaemonSet, control: PodControl, failed: FailedPods, now: Moment) -> None:
        self._tx = tx
        self._item = item
        self._control = control
        self._failed = failed
        self._now = now.wall
        self._watched = now.watched
        self._owner = Workload(kinds.DAEMON_SET, item)
        # Seconds until something is due although nothing changes.
        self._waits: list[float] = []
        self._nodes: dict[str, Node] = {
            row.message.metadata.name: row.message for row in tx.list_untracked(kinds.NODE)
        }  # fmt: skip
        self._pods = self._by_node(podcontrol.claim(tx, self._owner, item.spec.selector, kinds.POD))
        eligibility = Eligibility(item.spec.template)
        self._fits = {name: eligibility.fit(node) for name, node in self._nodes.items()}

    def run(self) -> Requeue | None:
        """Raises ApiError."""
        revisions = history.History(self._tx, self._owner, self._control, self._now)
        current = revisions.current()
        digest = history.hash_of(current)
        plan = self._membership(digest)
        if self._item.spec.updateStrategy.type == ROLLING_UPDATE and not plan.create and not plan.delete:
            self._roll(plan, digest)
        self._apply(plan, current)
        used = frozenset(pod.metadata.labels.get(history.HASH, "") for pods in self._pods.values() for pod in pods)
        revisions.clean_up(current, used, self._item.spec.revisionHistoryLimit)
        self._observe(digest)
        return Requeue(min(self._waits)) if self._waits else None

    def _by_node(self, pods: Iterable[Pod]) -> dict[str, list[Pod]]:
        """The pods of each node, in the order in which they are kept; also those that are not bound yet. One that has ended and
        is deleted, and that a finalizer keeps, is none of them."""
        found: dict[str, list[Pod]] = {}
        left = (pod for pod in pods if not (pod.metadata.deletionTimestamp.seconds and pod.status.phase in podcontrol.ENDED))
        for pod in sorted(left, key=_age):
            found.setdefault(daemonnodes.assigned(pod), []).append(pod)
        return found

    def _membership(self, digest: str) -> _Plan:
        """A pod where one should be and is not; none where it may not stay; none that has ended; one of several."""
        plan = _Plan()
        for name, node in self._nodes.items():
            pods, fits = self._pods.get(name, []), self._fits[name]
            if fits.runs and not pods:
                plan.create.append(node)
            elif not fits.stays:
                for pod in pods:
                    plan.remove(pod)
            else:
                self._surplus(plan, name, pods, digest)
        for name in self._pods.keys() - self._nodes.keys():
            # PodGC removes those that are bound; the others wait for a node that is gone.
            for pod in self._pods[name]:
                if not pod.spec.nodeName:
                    plan.remove(pod)
        return plan

    def _surplus(self, plan: _Plan, node: str, pods: list[Pod], digest: str) -> None:
        running: dict[bool, list[Pod]] = {}
        for pod in pods:
            phase = pod.status.phase
            wait = self._until_replaced(pod, node)
            if wait > 0:
                self._waits.append(wait)
            elif phase in podcontrol.ENDED:
                plan.remove(pod, _why_removed(pod, node))
            elif not pod.metadata.deletionTimestamp.seconds:
                # A surge has one pod of the present template and one of an earlier one.
                present = not self._max_surge() or pod.metadata.labels.get(history.HASH) == digest
                running.setdefault(present, []).append(pod)
        for several in running.values():
            for pod in several[1:]:
                plan.remove(pod)
        if len(running) > 1 and podcontrol.ready_since(running[False][0]) is None:
            # It serves no longer, so nothing is kept until the present one is available.
            plan.remove(running[False][0])

    def _until_replaced(self, pod: Pod, node: str) -> float:
        """Seconds that a pod which failed is still left; one that is being deleted counts no more."""
        if pod.status.phase != "Failed" or pod.metadata.deletionTimestamp.seconds:
            return 0.0
        place = self._item.metadata.uid, self._item.metadata.generation, node
        return self._failed.wait(place, pod.metadata.uid, self._watched)

    def _desired(self) -> int:
        return sum(item.runs for item in self._fits.values())

    def _max_surge(self) -> int:
        strategy = self._item.spec.updateStrategy
        if strategy.type != ROLLING_UPDATE:
            return 0
        return intorpercent.scaled(strategy.rollingUpdate.maxSurge, self._desired(), round_up=True)

    def _max_unavailable(self) -> int:
        bounds = self._item.spec.updateStrategy.rollingUpdate
        found = intorpercent.scaled(bounds.maxUnavailable, self._desired(), round_up=True)
        return found if found or self._max_surge() else 1

    def _is_available(self, pod: Pod) -> bool:
        left = podcontrol.until_available(pod, self._item.spec.minReadySeconds, self._now)
        return not pod.metadata.deletionTimestamp.seconds and left is not None and left <= 0

    def _roll(self, plan: _Plan, digest: str) -> None:
        if self._max_surge():
            self._roll_with_surge(plan, digest)
            return
        unavailable, allowed, candidates = 0, list[Pod](), list[Pod]()
        # Also pods on nodes that take no new ones, such as those that are away.
        for _, pods in sorted(self._pods.items()):
            old = [pod for pod in pods if pod.metadata.labels.get(history.HASH) != digest]
            if not any(map(self._is_available, pods)):
                unavailable += 1
                allowed += old
            else:
                candidates += old
        for pod in [*allowed, *candidates[: max(self._max_unavailable() - unavailable, 0)]]:
            plan.remove(pod)

    def _roll_with_surge(self, plan: _Plan, digest: str) -> None:
        """A new pod next to an old one; the old one goes when the new one is available."""
        surging, allowed, candidates = 0, list[Node](), list[Node]()
        for name in self._should_run():
            pods = [pod for pod in self._pods.get(name, []) if pod.status.phase not in podcontrol.ENDED]
            new = [pod for pod in pods if pod.metadata.labels.get(history.HASH) == digest]
            old = [pod for pod in pods if pod not in new]
            if not old:
                continue
            if not new:
                (candidates if any(map(self._is_available, old)) else allowed).append(self._nodes[name])
            elif any(map(self._is_available, new)):
                for pod in old:
                    plan.remove(pod)
            else:
                surging += 1
        plan.create += [*allowed, *candidates[: max(self._max_surge() - surging, 0)]]

    def _should_run(self) -> list[str]:
        return [name for name, item in sorted(self._fits.items()) if item.runs]

    def _apply(self, plan: _Plan, current: ControllerRevision) -> None:
        """As much of the plan as one transaction takes; the next one continues."""
        room = _Room(self._tx)
        for pod, why in plan.delete.values():
            if not room.take():
                self._waits.append(0.0)
                return
            if why:
                reason = "FailedDaemonPod" if pod.status.phase == "Failed" else "SucceededDaemonPod"
                self._control.event(self._tx, self._owner, reason, why, self._now, warning=pod.status.phase == "Failed")
            self._control.delete(self._tx, pod, self._owner, self._now)
        for node in plan.create:
            if not room.take():
                self._waits.append(0.0)
                return
            pod = self._pod(node, current)
            try:
                self._control.create(self._tx, pod, self._owner, self._now)
            except ApiError as error:
                self._control.failed(self._tx, self._owner, podcontrol.rejection(error, pod), self._now)
                self._waits.append(RETRY)
                return
            self._pods.setdefault(node.metadata.name, []).append(pod)

    def _pod(self, node: Node, current: ControllerRevision) -> Pod:
        template = self._item.spec.template
        pod = podcontrol.make(template, self._owner)
        pod.metadata.generateName = f"{self._item.metadata.name}-"
        pod.metadata.labels[history.HASH] = history.hash_of(current)
        daemonnodes.assign(pod.spec, node.metadata.name)
        own = daemonnodes.tolerations(template.spec)
        del pod.spec.tolerations[:]
        pod.spec.tolerations.extend(own)
        return pod

    def _observe(self, digest: str) -> None:
        """Write the status."""
        status, minimum = self._item.status, self._item.spec.minReadySeconds
        placed = {name: pods[0] for name in self._should_run() if (pods := self._pods.get(name))}
        waits = [podcontrol.until_available(pod, minimum, self._now) for pod in placed.values()]
        ready = [wait for wait in waits if wait is not None]
        status.desiredNumberScheduled = self._desired()
        status.currentNumberScheduled = len(placed)
        status.numberMisscheduled = sum(not item.runs and bool(self._pods.get(name)) for name, item in self._fits.items())
        status.numberReady = len(ready)
        status.numberAvailable = sum(wait <= 0 for wait in ready)
        status.numberUnavailable = status.desiredNumberScheduled - status.numberAvailable
        status.updatedNumberScheduled = sum(pod.metadata.labels.get(history.HASH) == digest for pod in placed.values())
        status.observedGeneration = self._item.metadata.generation
        verbs.update_status(self._tx, kinds.DAEMON_SET, self._item, self._control.call(self._now))
        self._waits += [wait for wait in ready if wait > 0]


def _age(pod: Pod) -> tuple[bool, int, bool, str]:
    """Bound pods first, then the oldest, of one second those that are ready."""
    meta = pod.metadata
    return not pod.spec.nodeName, meta.creationTimestamp.seconds, podcontrol.ready_since(pod) is None, meta.name


def _why_removed(pod: Pod, node: str) -> str:
    """The message of the event about a pod that has ended."""
    word, verb = ("failed", "kill") if pod.status.phase == "Failed" else ("succeeded", "delete")
    return f"Found {word} daemon pod {pod.metadata.namespace}/{pod.metadata.name} on node {node}, will try to {verb} it"
