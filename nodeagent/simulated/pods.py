"""The script of a simulated node's pods: when each becomes Ready, ends, and is gone. Pure: it is told the time.

Annotations of a pod change its script: `simnodes.pinnace.dev/ready-after` and `.../exit-after` (seconds from when the pod is
assigned), and `.../exit-code`.
"""

from __future__ import annotations

import heapq
import ipaddress
import math
from collections.abc import Iterable, Iterator
from typing import Any

from pinnace import codec
from pinnace.api.v1 import nodes_pb2
from pinnace.core.v1 import pod_pb2
from pinnace.ipfamilies import Network

PREFIX = "simnodes.pinnace.dev/"
_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")
# The network's own address and that of its VTEP, which no pod has.
_FIRST_ADDRESS = 2


class ScriptedPods:
    """The pods of one node. `ready_after` in seconds."""

    def __init__(self, ready_after: float, host: str) -> None:
        """`host`: the node's own address."""
        self._ready_after = ready_after
        self._host = host
        self._networks: tuple[Network, ...] = (ipaddress.ip_network("0.0.0.0/24"),)
        self._count = 0
        # By key, as assigned.
        self._pods: dict[str, pod_pb2.Pod] = {}
        self._steps: list[tuple[float, str, str, str]] = []

    def use(self, pod_cidrs: Iterable[str]) -> None:
        """Take the addresses of pods from here, one of each family. Raises ValueError."""
        self._networks = tuple(map(ipaddress.ip_network, pod_cidrs))

    def apply(self, assignment: nodes_pb2.Assignment, now: float) -> None:
        """Take in an assignment, complete or incremental."""
        # One pass: in a cluster of many nodes, most changes are peers.
        changes = [change for change in assignment.changes if change.key.startswith("Pod/")]
        if assignment.complete:
            kept = {change.key for change in changes} | set(assignment.following)
            for key in self._pods.keys() - kept:
                del self._pods[key]
        for change in changes:
            self._apply(change, now)

    def _apply(self, change: nodes_pb2.Change, now: float) -> None:
        if not change.HasField("object"):
            self._pods.pop(change.key, None)
            return
        pod, before = pod_pb2.Pod.FromString(change.object.protobuf), self._pods.get(change.key)
        self._pods[change.key] = pod
        uid = pod.metadata.uid
        if before is None or before.metadata.uid != uid:
            for delay, step in self._script(pod):
                heapq.heappush(self._steps, (now + delay, change.key, uid, step))
            before = None
        elif before.metadata.generation != pod.metadata.generation and pod.status.phase == "Running":
            # Other resources, say, which it has at once.
            heapq.heappush(self._steps, (now, change.key, uid, "ready"))
        if pod.metadata.deletionTimestamp.seconds and (before is None or not before.metadata.deletionTimestamp.seconds):
            heapq.heappush(self._steps, (now, change.key, uid, "removed"))

    def _script(self, pod: pod_pb2.Pod) -> Iterator[tuple[float, str]]:
        yield _seconds(pod, "ready-after", self._ready_after), "ready"
        ends = _seconds(pod, "exit-after", math.inf)
        if ends < math.inf:
            yield ends, "exit"

    @property
    def due(self) -> float:
        """When there is something to report; infinity for nothing."""
        return self._steps[0][0] if self._steps else math.inf

    def take(self, now: float, wall: float, most: int) -> list[nodes_pb2.PodReport]:
        """At most `most` reports that are due at `now`; `wall`: seconds since the epoch."""
        found: dict[str, nodes_pb2.PodReport] = {}
        while self._steps and self._steps[0][0] <= now and len(found) < most:
            _, key, uid, step = heapq.heappop(self._steps)
            pod = self._pods.get(key)
            if pod is not None and pod.metadata.uid == uid:
                found[key] = self._report(pod, step, wall)
        return list(found.values())

    def retry(self, reports: list[nodes_pb2.PodReport], now: float) -> None:
        """Report again what could not be sent."""
        for report in reports:
            ended = report.status.phase in ("Succeeded", "Failed")
            step = "removed" if report.removed else "exit" if ended else "ready"
            heapq.heappush(self._steps, (now, f"Pod/{report.namespace}/{report.name}", report.uid, step))

    def _report(self, pod: pod_pb2.Pod, step: str, wall: float) -> nodes_pb2.PodReport:
        meta = pod.metadata
        report = nodes_pb2.PodReport(namespace=meta.namespace, name=meta.name, uid=meta.uid, removed=step == "removed")
        code = int(_seconds(pod, "exit-code", 0))
        status: Any = report.status
        status.observedGeneration = meta.generation
        status.phase = "Running" if step == "ready" else "Failed" if code else "Succeeded"
        if not pod.status.podIPs:
            pod.status.podIPs.extend(pod_pb2.PodIP(ip=address) for address in self._addresses(pod))
            pod.status.podIP = pod.status.podIPs[0].ip
        status.podIP = pod.status.podIP
        status.podIPs.extend(pod.status.podIPs)
        time = codec.time_of(wall)
        status.startTime.CopyFrom(pod.status.startTime if pod.status.startTime.seconds else time)
        for type_ in _CONDITIONS:
            value = "True" if step == "ready" or type_ == "Initialized" else "False"
            status.conditions.add(type=type_, status=value).lastTransitionTime.CopyFrom(time)
        for container in pod.spec.containers:
            found = status.containerStatuses.add(
                name=container.name, image=container.image, ready=step == "ready", started=step == "ready"
            )
            found.resources.CopyFrom(container.resources)
            for name, amount in container.resources.requests.items():
                found.allocatedResources[name].CopyFrom(amount)
            if step == "ready":
                found.state.running.startedAt.CopyFrom(time)
            else:
                found.state.terminated.exitCode = code
                found.state.terminated.reason = "Error" if code else "Completed"
                found.state.terminated.finishedAt.CopyFrom(time)
        return report

    def _addresses(self, pod: pod_pb2.Pod) -> list[str]:
        """The next address of each pod CIDR, over and over; of a pod in the node's network, the node's."""
        if pod.spec.hostNetwork:
            return [self._host]
        usable = max(min(network.num_addresses for network in self._networks) - _FIRST_ADDRESS - 1, 1)
        self._count += 1
        offset = _FIRST_ADDRESS + (self._count - 1) % usable
        return [str(network.network_address + offset) for network in self._networks]


def _seconds(pod: pod_pb2.Pod, name: str, default: float) -> float:
    """An annotation as a number from 0; the default for anything else."""
    try:
        found = float(pod.metadata.annotations.get(PREFIX + name, default))
    except ValueError:
        return default
    return found if found >= 0 else default
