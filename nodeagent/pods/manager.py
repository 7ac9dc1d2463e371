"""All pods of this node: the assignment in, one worker for each pod, the last assignment on disk.

What the control plane said last is kept below `assignment/`, so that an agent which starts without it goes on.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nodeagent.eviction.admission import Refusal
from nodeagent.network.seam import Peer
from nodeagent.pods import kept
from nodeagent.pods.services import Services
from nodeagent.pods.statics import Statics, retired
from nodeagent.pods.worker import Worker
from pinnace import kinds, podresources
from pinnace.api.v1 import nodes_pb2

log = logging.getLogger("pinnace.pods")
# Seconds before a worker that failed is followed by another.
AGAIN = 1.0
_KINDS = {kind.kind: kind for kind in (kinds.POD, kinds.CONFIG_MAP, kinds.SECRET, kinds.RUNTIME_CLASS)}


class PodManager:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._objects: dict[str, Any] = {}
        self.peers: dict[str, Peer] = {}
        self.workers: dict[str, Worker] = {}
        self.statics = Statics()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._services: Services | None = None
        self._closed = False
        self._on_peers: Callable[[], None] = lambda: None
        # Why the node does not take a new pod beside those that it has.
        self.refuse: Callable[[Any, list[Any]], Refusal | None] = lambda pod, others: None
        for name in ("objects", "peers"):
            (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)

    def lookup(self, kind: str, namespace: str, name: str) -> Any | None:
        """A ConfigMap, a Secret, or a RuntimeClass (in namespace "") that some pod here names."""
        return self._objects.get(f"{kind}/{namespace}/{name}")

    def start(self, services: Services, on_peers: Callable[[], None], statics: Iterable[Any] = ()) -> None:
        """Take up what is on disk; `statics` are the static pods, which have the first call on what the node has."""
        self._services = services
        self._on_peers = on_peers
        for folder in ("objects", "peers"):
            # Half-written by an agent that was killed (pki.write_private).
            for path in (self._folder / folder).glob(".*"):
                path.unlink()
        for path in sorted((self._folder / "objects").iterdir()):
            key = path.name.replace("%", "/")
            self._objects[key] = _KINDS[key.partition("/")[0]].cls.FromString(path.read_bytes())
        for path in (self._folder / "peers").iterdir():
            self.peers[path.name] = _peer(nodes_pb2.Peer.FromString(path.read_bytes()))
        self.want(statics)
        for key, item in list(self._objects.items()):
            if key.startswith("Pod/") and not self.statics.mirror(key, item):
                self._apply_pod(item)
        self._adopt_orphans()

    def want(self, statics: Iterable[Any]) -> None:
        """These are the static pods from now on."""
        self.statics.want(statics)
        for worker in list(self.workers.values()):
            if podresources.is_static(worker.pod) and worker.uid not in self.statics.wanted:
                self._retire(worker)
        self._start_statics()

    def _start_statics(self) -> None:
        for uid, pod in self.statics.wanted.items():
            # What has its name ends first: an earlier version of the file, or somebody else's pod.
            if uid not in self.workers and self._named(pod) is None:
                self._apply_pod(pod, static=True)

    def _named(self, pod: Any) -> Worker | None:
        key = (pod.metadata.namespace, pod.metadata.name)
        return next((w for w in self.workers.values() if (w.pod.metadata.namespace, w.pod.metadata.name) == key), None)

    def _retire(self, worker: Worker) -> None:
        assert self._services is not None
        worker.update(retired(worker.pod, self._services.clock.now()))

    def _adopt_orphans(self) -> None:
        """Pods whose folder is here but which the last assignment no longer had: they are torn down."""
        assert self._services is not None
        folder = self._services.state / "pods"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for entry in os.scandir(folder):
            if entry.name in self.workers:
                continue
            pod = kept.pod(Path(entry.path) / "pod.pb")
            pod.metadata.uid = entry.name
            static = podresources.is_static(pod)
            self._apply_pod(pod, static=static)
            if static:
                self._retire(self.workers[entry.name])
            else:
                self.workers[entry.name].leave()

    def apply(self, assignment: nodes_pb2.Assignment) -> None:
        """Take in an assignment, complete or incremental."""
        keys = {change.key for change in assignment.changes}
        changed: set[str] = set()
        for change in assignment.changes:
            self._change(change, changed)
        if assignment.complete:
            for key in [key for key in self._objects if key not in keys]:
                self._change(nodes_pb2.Change(key=key), changed)
            for name in [name for name in self.peers if f"Peer//{name}" not in keys]:
                self._change(nodes_pb2.Change(key=f"Peer//{name}"), changed)
        if any(key.startswith("Peer/") for key in changed):
            self._on_peers()
        self._tell_users(changed)

    def _change(self, change: nodes_pb2.Change, changed: set[str]) -> None:
        kind, _, rest = change.key.partition("/")
        if kind == "Peer":
            self._change_peer(rest.strip("/"), change, changed)
            return
        path = self._folder / "objects" / change.key.replace("/", "%")
        old = self._objects.get(change.key)
        if not change.HasField("object"):
            if old is None:
                return
            del self._objects[change.key]
            path.unlink(missing_ok=True)
            changed.add(change.key)
            if kind == "Pod":
                self.statics.mirror(change.key, None)
                if old.metadata.uid in self.workers:
                    self.workers[old.metadata.uid].leave()
            return
        item: Any = _KINDS[kind].cls.FromString(change.object.protobuf)
        if old is not None and old.metadata.resourceVersion == item.metadata.resourceVersion:
            return
        self._objects[change.key] = item
        changed.add(change.key)
        if kind != "Pod" or old is None or old.spec != item.spec or old.metadata != item.metadata:
            kept.write(path, change.object.protobuf)
        if kind == "Pod":
            if old is not None and old.metadata.uid != item.metadata.uid and old.metadata.uid in self.workers:
                self.workers[old.metadata.uid].leave()
            self._take_pod(change.key, item)

    def _take_pod(self, key: str, pod: Any) -> None:
        """A pod to run, or the mirror of one that runs already."""
        mirrored = self.statics.mirror(key, pod)
        if not mirrored:
            self._apply_pod(pod)
        elif mirrored in self.workers:
            self.workers[mirrored].mirrored(pod)

    def _change_peer(self, name: str, change: nodes_pb2.Change, changed: set[str]) -> None:
        path = self._folder / "peers" / name
        if change.HasField("peer"):
            self.peers[name] = _peer(change.peer)
            kept.write(path, change.peer.SerializeToString())
        else:
            self.peers.pop(name, None)
            path.unlink(missing_ok=True)
        changed.add(change.key)

    def _tell_users(self, changed: set[str]) -> None:
        if any(key.startswith("RuntimeClass/") for key in changed):
            self.nudge()
        config = {key for key in changed if key.startswith(("ConfigMap/", "Secret/"))}
        if not config:
            return
        namespaces = {key.split("/")[1] for key in config}
        for worker in self.workers.values():
            if worker.pod.metadata.namespace in namespaces:
                worker.objects_changed()

    def _apply_pod(self, pod: Any, *, static: bool = False) -> None:
        assert self._services is not None
        if not static and podresources.SOURCE in pod.metadata.annotations:
            # Where a pod is from is for us to say (kubelet does likewise): static pods are never evicted.
            pod.metadata.annotations[podresources.SOURCE] = "api"
        worker = self.workers.get(pod.metadata.uid)
        if worker is not None:
            worker.update(pod)
            return
        if pod.status.phase in ("Succeeded", "Failed") and not (self._services.state / "pods" / pod.metadata.uid).exists():
            if not pod.metadata.deletionTimestamp.seconds:
                return
        # A pod that has a folder was let in before; what is already deleted is only to be removed.
        known = (self._services.state / "pods" / pod.metadata.uid / "pod.pb").exists()
        fresh = not known and not pod.metadata.deletionTimestamp.seconds
        refusal = self.refuse(pod, [w.pod for w in self.workers.values() if not w.over()]) if fresh else None
        worker = Worker(self._services, pod)
        if refusal is not None:
            # First: with a pod.pb it would have been let in, for an agent that starts again.
            worker.reject(reason=refusal.reason, message=refusal.message)
        kept.write(worker.folder / "pod.pb", pod.SerializeToString(), sync=False)
        self.workers[worker.uid] = worker
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
                asyncio.get_running_loop().call_later(AGAIN, self._again, worker)
        elif not task.cancelled():
            self._start_statics()

    def _again(self, worker: Worker) -> None:
        """Another worker for the pod of one that failed, and what was said of the pod since."""
        if worker.uid in self.workers or self._closed:
            return
        meta, static = worker.pod.metadata, podresources.is_static(worker.pod)
        pod = self._objects.get(f"Pod/{meta.namespace}/{meta.name}")
        assigned = pod is not None and pod.metadata.uid == worker.uid
        self._apply_pod(pod if assigned else worker.pod, static=static)
        if (another := self.workers.get(worker.uid)) is None:
            return
        if static and worker.uid not in self.statics.wanted:
            self._retire(another)
        elif worker.gone or not (static or assigned):
            another.leave()

    def nudge(self) -> None:
        for worker in self.workers.values():
            worker.nudge()

    def find(self, namespace: str, name: str) -> Worker | None:
        for worker in self.workers.values():
            meta = worker.pod.metadata
            if (meta.namespace, meta.name) == (namespace, name) and not worker.gone:
                return worker
        return None

    async def close(self) -> None:
        """Stop the workers. Containers go on."""
        self._closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def addresses(self) -> Iterable[tuple[str, str]]:
        """Pod uid and address, of pods that hold one."""
        return [(w.uid, w.seen.address) for w in self.workers.values() if w.seen.address and not w.seen.released]


def _peer(message: nodes_pb2.Peer) -> Peer:
    return Peer(message.node, message.podCIDR, message.address, message.vtepMac)
