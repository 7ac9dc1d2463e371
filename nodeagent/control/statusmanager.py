"""Statuses to the control plane, coalesced: only the latest of each pod is ever sent, one report at a time.

While a report is under way newer statuses replace older ones in the next. What could not be sent is sent again. Events go with
the next status, which is often a moment away: alone they would cost a call and a commit while a container starts.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from nodeagent.control.eventlimits import EventLimits
from pinnace.api.v1 import nodes_pb2
from pinnace.clock import Clock
from pinnace.core.v1 import event_pb2, node_pb2

log = logging.getLogger("pinnace.reporter")
# Events that wait while there is no control plane; the oldest are forgotten.
MAX_EVENTS = 500
# A report is one transaction of the control plane, and etcd takes 128 operations in one.
MAX_PODS_PER_REPORT = 40
MAX_EVENTS_PER_REPORT = 20
MAX_VOLUMES_PER_REPORT = 10
RETRY = 1.0
# Seconds that events wait for a status.
LINGER = 0.1
# Characters of an event's message.
MAX_MESSAGE = 1024

Send = Callable[[nodes_pb2.ReportStatusRequest], Awaitable[None]]


class StatusManager:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pods: dict[str, nodes_pb2.PodReport] = {}
        self._volumes: dict[str, nodes_pb2.VolumeReport] = {}
        self._events: deque[event_pb2.Event] = deque(maxlen=MAX_EVENTS)
        self._node: node_pb2.NodeStatus | None = None
        self._limits = EventLimits()
        self._wake = asyncio.Event()
        # Set when there is a status to send.
        self._urgent = asyncio.Event()

    def node(self, status: node_pb2.NodeStatus) -> None:
        """The node's own status; only the latest is ever sent."""
        self._node = status
        self._urgent.set()
        self._wake.set()

    def pod(self, pod: Any, status: Any, removed: bool) -> None:
        meta = pod.metadata
        self._pods[meta.uid] = nodes_pb2.PodReport(
            namespace=meta.namespace, name=meta.name, uid=meta.uid, status=status, removed=removed
        )
        self._urgent.set()
        self._wake.set()

    def volume(self, volume: Any, error: str) -> None:
        """The data of a released volume is deleted, or could not be."""
        meta = volume.metadata
        self._volumes[meta.uid] = nodes_pb2.VolumeReport(name=meta.name, uid=meta.uid, error=error[:MAX_MESSAGE])
        self._urgent.set()
        self._wake.set()

    def event(self, about: Any, reason: str, message: str, warning: bool) -> None:
        """An event about a pod of this node, or about the node."""
        meta, type_ = about.metadata, "Warning" if warning else "Normal"
        key = (about.DESCRIPTOR.name, meta.namespace, meta.name, meta.uid)
        admitted = self._limits.admit(key, (type_, reason), message[:MAX_MESSAGE], self._clock.monotonic())
        if admitted is None:
            return
        event = event_pb2.Event(reason=reason, message=admitted[:MAX_MESSAGE], type=type_)
        event.involvedObject.kind, event.involvedObject.apiVersion = about.DESCRIPTOR.name, "v1"
        event.involvedObject.namespace, event.involvedObject.name, event.involvedObject.uid = (
            meta.namespace,
            meta.name,
            meta.uid,
        )
        event.source.component = event.reportingComponent = "nodeagent"
        self._events.append(event)
        self._wake.set()

    async def run(self, send: Send) -> None:
        """Send until cancelled. `send` raises when it fails."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pods or self._volumes or self._events or self._node is not None:
                if not self._pods and not self._volumes and self._node is None:
                    await self._clock.wait(self._urgent, LINGER)
                self._urgent.clear()
                await self._send_some(send)

    async def _send_some(self, send: Send) -> None:
        request = nodes_pb2.ReportStatusRequest()
        taken = dict(list(self._pods.items())[:MAX_PODS_PER_REPORT])
        volumes = dict(list(self._volumes.items())[:MAX_VOLUMES_PER_REPORT])
        events = [self._events[i] for i in range(min(len(self._events), MAX_EVENTS_PER_REPORT))]
        request.pods.extend(taken.values())
        request.volumes.extend(volumes.values())
        request.events.extend(events)
        node = self._node
        if node is not None:
            request.node.CopyFrom(node)
        try:
            await send(request)
        except Exception as error:
            log.warning("report_failed pods=%d error=%s", len(taken), error)
            await self._clock.sleep(RETRY)
            return
        for uid, report in taken.items():
            # One that was replaced meanwhile is still to be sent.
            if self._pods.get(uid) is report:
                del self._pods[uid]
        for uid, found in volumes.items():
            if self._volumes.get(uid) is found:
                del self._volumes[uid]
        if self._node is node:
            self._node = None
        for event in events:
            if self._events and self._events[0] is event:
                self._events.popleft()
