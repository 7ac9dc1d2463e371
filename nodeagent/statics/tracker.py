"""Static pods beside what the API shows of them: their mirrors.

A mirror is an object that the control plane makes for each static pod of a node, so that people see it; the agent never
runs one. Deleting it deletes nothing: it is made again. What is said of a pod before its mirror is there waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any

from nodeagent.pods.dependencies import EventSink
from pinnace import podresources

# Events that wait for one pod's mirror; the oldest are forgotten.
MAX_HELD = 20


def is_mirror(pod: Any) -> bool:
    return podresources.MIRROR in pod.metadata.annotations


def retired(pod: Any, now: float) -> Any:
    """The pod as deleted by its API with its own grace: its file is gone or says something else."""
    found = type(pod)()
    found.CopyFrom(pod)
    meta, grace = found.metadata, pod.spec.terminationGracePeriodSeconds
    if not meta.deletionTimestamp.seconds:
        meta.deletionTimestamp.seconds, meta.deletionGracePeriodSeconds = int(now) + grace, grace
    return found


class MirrorPodTracker:
    def __init__(self) -> None:
        self.wanted: dict[str, Any] = {}
        self.sink: EventSink = lambda pod, reason, message, warning: None
        # Set when mirrors and pods may no longer agree.
        self.changed = asyncio.Event()
        self._mirrors: dict[str, Any] = {}
        self._held: dict[str, deque[tuple[Any, str, str, bool]]] = {}

    def want(self, pods: Iterable[Any]) -> None:
        self.wanted = {pod.metadata.uid: pod for pod in pods}
        self._held = {uid: held for uid, held in self._held.items() if uid in self.wanted}
        self.changed.set()

    def mirror(self, key: str, pod: Any | None) -> str:
        """What the assignment says of the pod at `key`. Returns the uid of the static pod that it mirrors, if any."""
        if pod is None or not is_mirror(pod):
            if self._mirrors.pop(key, None) is not None:
                self.changed.set()
            return ""
        uid = str(pod.metadata.annotations[podresources.MIRROR])
        self._mirrors[key] = pod
        self.changed.set()
        for held in self._held.pop(uid, ()):
            self.sink(*held)
        return uid

    def agree(self) -> bool:
        """Whether the API shows exactly the pods that are wanted."""
        shown = {pod.metadata.annotations[podresources.MIRROR] for pod in self._mirrors.values()}
        leaving = any(pod.metadata.deletionTimestamp.seconds for pod in self._mirrors.values())
        return not leaving and len(shown) == len(self._mirrors) and shown == set(self.wanted)

    def event(self, pod: Any, reason: str, message: str, warning: bool) -> None:
        """An event about any pod of this node."""
        uid = pod.metadata.uid
        if uid in self.wanted and not self._shows(uid):
            self._held.setdefault(uid, deque(maxlen=MAX_HELD)).append((pod, reason, message, warning))
        else:
            self.sink(pod, reason, message, warning)

    def _shows(self, uid: str) -> bool:
        return any(pod.metadata.annotations[podresources.MIRROR] == uid for pod in self._mirrors.values())
