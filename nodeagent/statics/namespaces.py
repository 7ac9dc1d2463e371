"""The namespaces of this node's static pods, which the agent names to the control plane, and how long a pod waits for policies.

A static pod runs before the API has its mirror pod, after that is gone, and where there can be none. So the NetworkPolicies of
its namespace are sent because the agent names the namespace, not because there is a mirror pod. A new pod waits until the
assignment has them; without an answer it starts after `PATIENCE`, with those on the node's disk: static pods need no control
plane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nodeagent.pods.ownership import PATIENCE


class StaticNamespaces:
    def __init__(self, policed: Callable[[str], bool]) -> None:
        """`policed`: whether the assignment has the policies of a namespace."""
        self._policed = policed
        # Sorted.
        self.named: tuple[str, ...] = ()
        # Called when `named` has changed.
        self.changed: Callable[[], None] = lambda: None
        # When pods may start without policies, by uid, in seconds since the epoch.
        self._until: dict[str, float] = {}

    def set(self, pods: Iterable[Any], *, keep: bool = False) -> None:
        """These are the node's static pods that are wanted, run or end; `keep`: more, in namespaces named before."""
        pods = [pod for pod in pods if not pod.spec.hostNetwork]
        uids = {pod.metadata.uid for pod in pods}
        self._until = {uid: until for uid, until in self._until.items() if uid in uids}
        before = self.named
        self.named = tuple(sorted({pod.metadata.namespace for pod in pods}.union(before if keep else ())))
        if self.named != before:
            self.changed()

    def wait_until(self, pod: Any, now: float) -> float | None:
        """When a static pod may get its sandbox, in seconds since the epoch; None: now. The same again for the same pod."""
        if pod.spec.hostNetwork or self._policed(pod.metadata.namespace):
            self._until.pop(pod.metadata.uid, None)
            return None
        return self._until.setdefault(pod.metadata.uid, now + PATIENCE)
