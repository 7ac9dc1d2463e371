"""All pods of this node: one worker each, started, updated and ended as the assignment and the static pods say."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from nodeagent.control.assignment import Assignment
from nodeagent.control.changes import Change
from nodeagent.node.admission import Refusal, resize_order
from nodeagent.pods.checkpoint import PodCheckpoint
from nodeagent.pods.dependencies import WorkerDependencies
from nodeagent.pods.model import PendingResize
from nodeagent.pods.ownership import held_until
from nodeagent.pods.worker import Worker
from nodeagent.statics.namespaces import StaticNamespaces
from nodeagent.statics.tracker import MirrorPodTracker, retired
from pinnace import persistentvolumes, podresources

log = logging.getLogger("pinnace.pods")
# Seconds before a worker that failed is followed by another.
AGAIN = 1.0
# Seconds before a resize that could not be recorded is tried again.
RESIZE_AGAIN = 10.0


class PodManager:
    """One worker for each pod of this node. `admit` decides on a new pod, given those that the node has."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self.workers: dict[str, Worker] = {}
        self.statics = MirrorPodTracker()
        self.static_namespaces = StaticNamespaces(assignment.sent_policies)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._deps: WorkerDependencies | None = None
        self._closed = False
        self._applied = 0
        # By uid, of pods that left the assignment and are not gone yet: the last revision before that.
        self._leaving: dict[str, int] = {}
        # Pods whose worker has failed and is followed by another soon.
        self._failed: set[str] = set()
        # Pods from disk, by uid, that the control plane has not confirmed, and when they may start without.
        self._unconfirmed: dict[str, float] = {}
        self.admit: Callable[[Any, list[Any]], Refusal | None] = lambda pod, others: None
        # Of a pod as it is to be, as it is, and the others: why it does not get the resources.
        self.admit_resize: Callable[[Any, Any, list[Any]], Refusal | None] = lambda pod, present, others: None
        # Once all pods of the node are known: until then there seems to be room.
        self._complete = False

    def start(self, deps: WorkerDependencies, statics: Iterable[Any] = ()) -> None:
        """Begin with what is on disk, then follow the assignment; static pods come first when resources are short."""
        self._deps = deps
        self.want(statics)
        self._unconfirmed = {pod.metadata.uid: held_until(pod, deps.clock.now()) for key, pod in self._assignment.pods()}
        self._assignment.confirmed = self._confirm
        self._pods_changed([Change(key, None, pod) for key, pod in self._assignment.pods()])
        self._adopt_orphans()
        self._name_statics()
        self._complete = True
        self._decide_resizes()
        self._assignment.subscribe(("Pod",), self._pods_changed)
        self._assignment.subscribe(("ConfigMap", "Secret", "PersistentVolumeClaim"), self._configs_changed)
        self._assignment.subscribe(("RuntimeClass", "PersistentVolume"), lambda changes: self.nudge())

    def _confirm(self, keys: Iterable[str]) -> None:
        """The control plane has said that these pods are this node's."""
        for key in keys:
            pod = self._assignment.lookup(*key.split("/"))
            uid = str(pod.metadata.uid) if pod is not None else ""
            if self._unconfirmed.pop(uid, None) is not None and uid in self.workers:
                self.workers[uid].hold(None)
        # Also by an assignment that changes nothing.
        self._hold_statics()

    def want(self, statics: Iterable[Any]) -> None:
        """These are the static pods from now on."""
        self.statics.want(statics)
        for worker in list(self.workers.values()):
            if podresources.is_static(worker.pod) and worker.uid not in self.statics.wanted:
                self._retire(worker)
        self._name_statics()
        self._start_statics()

    def _name_statics(self) -> None:
        """Name the namespaces of static pods that are on the node or are to be. A worker that failed is of some pod."""
        there = (worker.pod for worker in self._static_workers())
        self.static_namespaces.set((*self.statics.wanted.values(), *there), keep=bool(self._failed))

    def _static_workers(self) -> list[Worker]:
        return [worker for worker in self.workers.values() if podresources.is_static(worker.pod)]

    def _hold_statics(self) -> None:
        """Have static pods wait for the policies of their namespaces; one that has its sandbox waits for nothing."""
        assert self._deps is not None
        # For each message of the control plane; without a static pod it costs nothing.
        for worker in self._static_workers() if self.static_namespaces.named else ():
            until = self.static_namespaces.wait_until(worker.pod, self._deps.clock.now())
            if until != worker.observed.held_until:
                worker.hold(until)

    def _start_statics(self) -> None:
        for uid, pod in self.statics.wanted.items():
            # What has its name ends first: an earlier version of the file, or another pod.
            if uid not in self.workers and self._named(pod) is None:
                self._apply_pod(pod, static=True)

    def _named(self, pod: Any) -> Worker | None:
        key = (pod.metadata.namespace, pod.metadata.name)
        return next((w for w in self.workers.values() if (w.pod.metadata.namespace, w.pod.metadata.name) == key), None)

    def _retire(self, worker: Worker) -> None:
        assert self._deps is not None
        worker.update(retired(worker.pod, self._deps.clock.now()))

    def _adopt_orphans(self) -> None:
        """Pods whose folder is here but which the last assignment no longer had: they are torn down."""
        assert self._deps is not None
        folder = self._deps.state / "pods"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for entry in os.scandir(folder):
            if entry.name in self.workers:
                continue
            try:
                self._adopt_orphan(entry.name, Path(entry.path))
            except Exception:
                # The next agent tries again.
                log.exception("orphan_failed pod=%s", entry.name)

    def _adopt_orphan(self, uid: str, path: Path) -> None:
        pod = PodCheckpoint(path).load_pod()
        pod.metadata.uid = uid
        static = podresources.is_static(pod)
        self._apply_pod(pod, static=static)
        if static:
            self._retire(self.workers[uid])
        else:
            self._leave(uid)

    def _pods_changed(self, changes: list[Change]) -> None:
        for change in changes:
            try:
                self._one_changed(change)
            except Exception:
                # A full disk, say: the others are not to wait for this one.
                log.exception("pod_failed key=%s", change.key)
                asyncio.get_running_loop().call_later(AGAIN, self._retry, change.key)

    def _retry(self, key: str) -> None:
        """What the assignment says of a pod by now, once more."""
        _, namespace, name = key.split("/")
        pod = self._assignment.lookup("Pod", namespace, name)
        if not self._closed and pod is not None:
            self._pods_changed([Change(key, None, pod)])

    def _one_changed(self, change: Change) -> None:
        uid = str(change.old.metadata.uid) if change.old is not None else ""
        if uid in self.workers and (change.new is None or change.new.metadata.uid != uid):
            self._leave(uid)
            self._unconfirmed.pop(uid, None)
        self._pod_changed(change.key, change.new)
        worker = self.workers.get(change.new.metadata.uid) if change.new is not None else None
        if worker is not None:
            worker.take_tokens(change.tokens)

    def _pod_changed(self, key: str, pod: Any | None) -> None:
        """A pod to run, or the mirror pod of a static one."""
        mirrored = self.statics.mirror(key, pod)
        if mirrored and mirrored in self.workers:
            self.workers[mirrored].mirrored(pod)
        elif not mirrored and pod is not None:
            self._apply_pod(pod)

    def _configs_changed(self, changes: list[Change]) -> None:
        namespaces = {change.key.split("/")[1] for change in changes}
        for worker in self.workers.values():
            if worker.pod.metadata.namespace in namespaces:
                worker.objects_changed()

    def _apply_pod(self, pod: Any, *, static: bool = False) -> None:
        assert self._deps is not None
        if not static and podresources.SOURCE in pod.metadata.annotations:
            # Where a pod is from is for us to say (kubelet does likewise): static pods are never evicted.
            pod.metadata.annotations[podresources.SOURCE] = "api"
        worker = self.workers.get(pod.metadata.uid)
        if worker is not None:
            worker.update(pod)
            self._decide_resize(worker)
            return
        if pod.status.phase in ("Succeeded", "Failed") and not (self._deps.state / "pods" / pod.metadata.uid).exists():
            if not pod.metadata.deletionTimestamp.seconds:
                return
        # A pod that has a folder was let in before; what is already deleted is only to be removed.
        known = (self._deps.state / "pods" / pod.metadata.uid / "pod.pb").exists()
        fresh = not known and not pod.metadata.deletionTimestamp.seconds
        refusal = self.admit(pod, [w.pod for w in self.workers.values() if not w.over()]) if fresh else None
        worker = Worker(self._deps, pod)
        now = self._deps.clock.now()
        worker.hold(self.static_namespaces.wait_until(pod, now) if static else self._unconfirmed.get(worker.uid))
        if refusal is not None:
            # First: with a pod.pb it would have been let in, for an agent that starts again.
            worker.reject(reason=refusal.reason, message=refusal.message)
        PodCheckpoint(worker.folder).save_pod(worker.pod)
        self.workers[worker.uid] = worker
        worker.on_released = self._decide_resizes
        self._decide_resize(worker)
        task = asyncio.ensure_future(worker.run())
        self._tasks[worker.uid] = task
        task.add_done_callback(functools.partial(self._ended, worker.uid))

    def _ended(self, uid: str, task: asyncio.Task[None]) -> None:
        worker = self.workers.pop(uid, None)
        self._tasks.pop(uid, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("worker_failed pod=%s", uid, exc_info=task.exception())
            if worker is not None:
                # A fault of ours must not strand the pod: a new worker looks at the same folder.
                self._failed.add(uid)
                asyncio.get_running_loop().call_later(AGAIN, self._again, worker)
        elif not task.cancelled():
            self._start_statics()
        self._name_statics()
        self._decide_resizes()

    def _decide_resizes(self) -> None:
        """Decide on all pods that want other resources: there may be room now."""
        waiting = [worker for worker in self.workers.values() if not worker.settled()]
        for worker in sorted(waiting, key=lambda worker: resize_order(worker.desired, worker.pod)):
            self._decide_resize(worker)

    def _decide_resize(self, worker: Worker) -> None:
        if not self._complete or self._closed:
            return
        if worker.settled():
            worker.resize_pends(None)
            return
        others = [w.pod for w in self.workers.values() if w is not worker and not w.over()]
        refusal = self.admit_resize(worker.desired, worker.pod, others)
        if refusal is not None:
            worker.resize_pends(PendingResize(refusal.reason, refusal.message))
            return
        loop = asyncio.get_running_loop()
        try:
            worker.allocate()
        except OSError as error:
            log.error("resize_not_recorded pod=%s error=%s", worker.uid, error)
            loop.call_later(RESIZE_AGAIN, self._decide_resizes)
            return
        # What it gave back may be enough for another.
        loop.call_soon(self._decide_resizes)

    def _again(self, worker: Worker) -> None:
        """Another worker for the pod of one that failed, and what was said of the pod since."""
        if worker.uid in self.workers or self._closed:
            self._failed.discard(worker.uid)
            return
        self._failed.discard(worker.uid)
        meta, static = worker.pod.metadata, podresources.is_static(worker.pod)
        pod = self._assignment.lookup("Pod", meta.namespace, meta.name)
        assigned = pod is not None and pod.metadata.uid == worker.uid
        self._apply_pod(pod if assigned else worker.pod, static=static)
        if (another := self.workers.get(worker.uid)) is None:
            return
        self._name_statics()
        if static and worker.uid not in self.statics.wanted:
            self._retire(another)
        elif worker.gone or not (static or assigned):
            self._leave(another.uid)

    def nudge(self) -> None:
        for worker in self.workers.values():
            worker.nudge()

    def connected(self) -> None:
        """There is a session with the control plane."""
        for worker in self.workers.values():
            worker.connected()
        if self._deps is not None:
            self.static_namespaces.connected(self._deps.clock.now())
            self._hold_statics()

    def _leave(self, uid: str) -> None:
        """The pod is no longer assigned. The assignment has its new revision once all changes of that are published."""
        self._leaving.setdefault(uid, self._assignment.revision)
        self.workers[uid].leave()

    def applied(self) -> int:
        """The revision of the last assignment that is complete: every pod that left it, or an earlier one, is gone. A pod that
        leaves later holds back only the revisions since."""
        left = {uid: at for uid, at in self._leaving.items() if uid in self.workers or uid in self._failed}
        self._leaving = left
        if not self._failed:
            self._applied = min(left.values(), default=self._assignment.revision)
        return self._applied

    def find(self, namespace: str, name: str) -> Worker | None:
        for worker in self.workers.values():
            meta = worker.pod.metadata
            if (meta.namespace, meta.name) == (namespace, name) and not worker.gone:
                return worker
        return None

    def uses(self, volume: Any) -> bool:
        """Whether a pod that is not over may still write to a volume: by its claim, unless that has another volume now."""
        ref = volume.spec.claimRef
        claim = self._assignment.lookup("PersistentVolumeClaim", ref.namespace, ref.name)
        if claim is not None and claim.spec.volumeName != volume.metadata.name:
            return False
        pods = (worker.pod for worker in self.workers.values() if not worker.over())
        return any(
            pod.metadata.namespace == ref.namespace and any(item.name == ref.name for item in persistentvolumes.claims_of(pod))
            for pod in pods
        )

    async def close(self) -> None:
        """Stop the workers. Containers go on."""
        self._closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def addresses(self) -> Iterable[tuple[str, Sequence[str]]]:
        """Pod uid and addresses, of pods that hold some."""
        return [(w.uid, w.observed.addresses) for w in self.workers.values() if not w.observed.released]
