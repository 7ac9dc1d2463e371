"""The namespaces of this node's static pods, which the agent names to the control plane, and how long a pod waits for policies.

A static pod runs before the API has its mirror pod, after that is gone, and where there can be none. So the NetworkPolicies of
its namespace are sent because the agent names the namespace, not because there is a mirror pod. A new pod waits until the
control plane has sent them to this agent. Without an answer it starts all the same, with those on the node's disk: static pods
need no control plane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nodeagent.pods.ownership import PATIENCE

# Seconds that a pod waits for an answer, once there is a session.
ANSWER = 30.0


class StaticNamespaces:
    def __init__(self, sent: Callable[[str], bool]) -> None:
        """`sent`: whether the control plane has sent the policies of a namespace."""
        self._sent = sent
        # Whether there is a session, whose answers may be waited for.
        self.session: Callable[[], bool] = lambda: False
        # Sorted.
        self.named: tuple[str, ...] = ()
        # Called when `named` has changed.
        self.changed: Callable[[], None] = lambda: None
        # When pods may start without policies, by uid, in seconds since the epoch.
        self._until: dict[str, float] = {}
        # Those of them that a session has given more time. Sessions that begin again and again give no more.
        self._extended: set[str] = set()

    def set(self, pods: Iterable[Any], *, keep: bool = False) -> None:
        """These are the node's static pods that are wanted, run or end; `keep`: more, in namespaces named before."""
        pods = [pod for pod in pods if not pod.spec.hostNetwork]
        uids = {pod.metadata.uid for pod in pods}
        self._until = {uid: until for uid, until in self._until.items() if uid in uids}
        self._extended &= uids
        before = self.named
        self.named = tuple(sorted({pod.metadata.namespace for pod in pods}.union(before if keep else ())))
        if self.named != before:
            self.changed()

    def wait_until(self, pod: Any, now: float) -> float | None:
        """When a static pod may get its sandbox, in seconds since the epoch; None: now. The same again for the same pod."""
        if pod.spec.hostNetwork or self._sent(pod.metadata.namespace):
            self._until.pop(pod.metadata.uid, None)
            self._extended.discard(pod.metadata.uid)
            return None
        return self._until.setdefault(pod.metadata.uid, now + (ANSWER if self.session() else PATIENCE))

    def connected(self, now: float) -> None:
        """A session has begun: pods that wait, wait for its answer, once."""
        waiting = {uid for uid, until in self._until.items() if until > now} - self._extended
        self._until |= dict.fromkeys(waiting, now + ANSWER)
        self._extended |= waiting
