"""The loop: hold a lock that delays shutdowns; when one is announced, stop the pods group by group, then let go.

Source: kubelet's nodeshutdown manager; reasons and messages are its own.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nodeagent.shutdown import logind as logind_
from nodeagent.shutdown.logind import LogindError
from nodeagent.shutdown.order import Period, grouped
from pinnace.clock import Clock
from pinnace.core.v1 import node_pb2
from pinnace.podresources import CRITICAL_PRIORITY, critical

log = logging.getLogger("pinnace.shutdown")
REASON, MESSAGE = "Terminated", "Pod was terminated in response to imminent node shutdown."
NOT_ADMITTED = ("NodeShutdown", "Pod was rejected as the node is shutting down.")
# Seconds between tries to reach logind, and between looks whether pods have ended.
RETRY, EVERY = 1.0, 0.1


class Logind(Protocol):
    async def longest_delay(self) -> float: ...

    async def inhibit(self) -> int: ...

    async def announced(self) -> bool: ...

    def close(self) -> None: ...


class Stoppable(Protocol):
    """A pod of this node, as its worker."""

    @property
    def pod(self) -> Any: ...

    def over(self) -> bool: ...

    def evict(self, *, reason: str, message: str, grace: float, disruption: bool = True) -> None: ...


@dataclass(frozen=True, slots=True)
class Node:
    """What the manager needs of the node. `event` is about it: reason, message, whether it is a warning."""

    pods: Callable[[], Iterable[Stoppable]]
    event: Callable[[str, str, bool], None]
    changed: Callable[[], None]
    clock: Clock


class ShutdownManager:
    def __init__(
        self,
        periods: Sequence[Period],
        node: Node,
        *,
        connect: Callable[[], Awaitable[Logind]] = logind_.connect,
        release: Callable[[int], None] = logind_.release,
    ) -> None:
        self._periods = periods
        self._node = node
        self._connect = connect
        self._release = release
        self._lock: int | None = None
        self._said = ""
        self.shutting_down = False

    def condition(self, status: node_pb2.NodeStatus) -> None:
        """The node is not Ready while it shuts down."""
        if self.shutting_down:
            status.conditions.add(type="Ready", status="False", reason="KubeletNotReady", message="node is shutting down")

    async def run(self) -> None:
        """Until cancelled; a lost connection is made again."""
        while True:
            try:
                logind = await self._connect()
                try:
                    await self._serve(logind)
                finally:
                    self._let_go()
                    logind.close()
            except LogindError as error:
                if str(error) != self._said:
                    self._said = str(error)
                    log.warning("no_graceful_shutdown error=%s", error)
            await self._node.clock.sleep(RETRY)

    async def _serve(self, logind: Logind) -> None:
        wanted, granted = sum(period.seconds for period in self._periods), await logind.longest_delay()
        if granted < wanted:
            text = f"logind delays a shutdown for {granted:.0f} s only: set InhibitDelayMaxSec={wanted:.0f} in logind.conf"
            log.warning("%s", text)
            self._node.event("NodeShutdown", text, True)
        self._lock = await logind.inhibit()
        self._said = ""
        while True:
            await self._announced(logind, begins=await logind.announced())

    async def _announced(self, logind: Logind, *, begins: bool) -> None:
        what = "event" if begins else "cancellation"
        log.info("shutdown_announced %s", what)
        self._node.event("NodeShutdown", f"Shutdown manager detected shutdown {what}", False)
        self.shutting_down = begins
        self._node.changed()
        if begins:
            try:
                await self._stop()
            finally:
                self._let_go()
        elif self._lock is None:
            self._lock = await logind.inhibit()

    async def _stop(self) -> None:
        pods = [(_priority(pod.pod), pod) for pod in self._node.pods() if not pod.over()]
        for period, members in grouped(self._periods, pods):
            for pod in members:
                grace = min(period.seconds, float(pod.pod.spec.terminationGracePeriodSeconds))
                pod.evict(reason=REASON, message=MESSAGE, grace=grace)
            deadline = self._node.clock.monotonic() + period.seconds
            while not all(pod.over() for pod in members) and self._node.clock.monotonic() < deadline:
                await self._node.clock.sleep(EVERY)

    def _let_go(self) -> None:
        if self._lock is not None:
            lock, self._lock = self._lock, None
            self._release(lock)


def _priority(pod: Any) -> int:
    """Static pods are critical, as in kubelet."""
    return max(int(pod.spec.priority), CRITICAL_PRIORITY) if critical(pod) else int(pod.spec.priority)
