"""A pod's status as Kubernetes would show it, from what was seen. Pure.

Source: the pod lifecycle page of Kubernetes: phases, container states and their reasons. Conditions: `conditions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nodeagent.pods import conditions, resize, terminationmessage
from nodeagent.pods.model import Attempt, ObservedState, Policy
from nodeagent.pods.restarts import begun, done, initialized, outcome, runs_again
from nodeagent.pods.termination import PodTermination, ending
from pinnace import codec, podspec
from pinnace.core.v1 import containerstatus_pb2, pod_pb2
from pinnace.podspec import ephemeral, is_sidecar


def pod_status(
    pod: Any, *, gone: bool, observed: ObservedState, now: float, host_ips: Sequence[str], policy: Policy, previous: Any | None
) -> pod_pb2.PodStatus:
    """`previous` is the status reported last: conditions keep their transition times from it."""
    status = pod_pb2.PodStatus(hostIP=host_ips[0], observedGeneration=pod.metadata.generation)
    status.hostIPs.extend(pod_pb2.HostIP(ip=address) for address in host_ips)
    status.startTime.CopyFrom(codec.time_of(observed.started_at))
    addresses = host_ips if pod.spec.hostNetwork and observed.sandbox else observed.addresses
    if addresses:
        status.podIP = addresses[0]
        status.podIPs.extend(pod_pb2.PodIP(ip=address) for address in addresses)
    end = ending(pod, gone=gone, observed=observed, now=now)
    show = _Shown(pod, observed, now, policy, ends=end is not None or outcome(pod, observed) is not None)
    status.initContainerStatuses.extend(show.init(container) for container in pod.spec.initContainers)
    status.containerStatuses.extend(show.main(container) for container in pod.spec.containers)
    status.ephemeralContainerStatuses.extend(show.ephemeral(container) for container in ephemeral(pod))
    _phase(pod, observed, status, end)
    if observed.eviction is not None and not observed.attempts:
        # Nothing of it ever ran, and nothing is waited for.
        status.ClearField("initContainerStatuses")
        status.ClearField("containerStatuses")
    conditions.put(pod, observed, status, previous, now)
    return status


def overridden(stored: Any, own: Any) -> bool:
    """Whether the stored status has lost our word on readiness: the control plane marks the pods of a silent node
    unready, and only their agent can say that they are ready again."""
    ready = {condition.type: condition.status for condition in own.conditions if condition.type == "Ready"}
    return any(ready.get(item.type, item.status) != item.status for item in stored.conditions)


def _phase(pod: Any, observed: ObservedState, status: pod_pb2.PodStatus, end: PodTermination | None) -> None:
    """Failed and Succeeded come once nothing runs any more: components that count the pod's resources rely on it."""
    result = outcome(pod, observed)
    if end is not None and end.reason:
        status.reason, status.message = end.reason, end.message
        result = "Failed"
    elif end is not None and observed.released and result is None:
        # Deleted and stopped: what its containers' codes say.
        ends = [observed.last(container.name) for container in pod.spec.containers]
        result = "Failed" if any(last is None or last.code for last in ends) else "Succeeded"
    if result is not None and not observed.running():
        status.phase = result
        return
    started = all(observed.last(container.name) is not None for container in pod.spec.containers)
    ran = any((last := observed.last(container.name)) is not None and last.started_at for container in pod.spec.containers)
    status.phase = "Running" if started and ran and not _initializes(pod, observed) else "Pending"


def _initializes(pod: Any, observed: ObservedState) -> bool:
    """Whether an init container runs that the main containers wait for: then the pod is Pending, also once more."""
    if begun(pod, observed):
        return False
    running = {attempt.name for attempt in observed.running()}
    return any(container.name in running and not is_sidecar(container) for container in pod.spec.initContainers)


class _Shown:
    """The statuses of a pod's containers. `ends`: none of them starts again."""

    def __init__(self, pod: Any, observed: ObservedState, now: float, policy: Policy, *, ends: bool) -> None:
        self._pod, self._seen, self._now, self._policy, self._ends = pod, observed, now, policy, ends

    def main(self, container: Any) -> containerstatus_pb2.ContainerStatus:
        waits = "ContainerCreating" if initialized(self._pod, self._seen) else "PodInitializing"
        return self._container(container, waits=waits, again=runs_again(self._pod, container, self._seen))

    def init(self, container: Any) -> containerstatus_pb2.ContainerStatus:
        waits = "PodInitializing" if self._seen.sandbox else "ContainerCreating"
        again = runs_again(self._pod, container, self._seen, init=True)
        status = self._container(container, waits=waits, again=again)
        if not is_sidecar(container):
            status.ready = done(container, self._seen)
        return status

    def ephemeral(self, container: Any) -> containerstatus_pb2.ContainerStatus:
        status = self._container(container, waits="ContainerCreating", again=False)
        status.ready = False
        return status

    def _container(self, container: Any, *, waits: str, again: bool) -> containerstatus_pb2.ContainerStatus:
        status = containerstatus_pb2.ContainerStatus(name=container.name, image=container.image, started=False)
        attempts = self._seen.attempts.get(container.name, ())
        self._resources(container, attempts[-1] if attempts else None, status)
        if not attempts:
            self._waiting(container.name, waits, status)
            return status
        last = attempts[-1]
        status.restartCount, status.imageID, status.containerID = last.number, last.image_id, container_id(self._pod, last)
        if last.running and last.started_at is not None:
            lifecycle = self._seen.lifecycle(container.name)
            status.state.running.startedAt.CopyFrom(codec.time_of(last.started_at))
            status.started, status.ready = lifecycle.started, lifecycle.started and lifecycle.ready
        elif last.running:
            status.state.waiting.reason = waits
        elif again and not self._ends and self._seen.current(container.name) is None:
            self._waiting(container.name, waits, status)
            _terminated(self._pod, last, status.lastState)
        else:
            self._ended(container, last, status, again=again and not self._ends)
        if len(attempts) > 1 and not status.lastState.ListFields():
            _terminated(self._pod, attempts[-2], status.lastState)
        return status

    def _resources(self, container: Any, last: Attempt | None, status: Any) -> None:
        """What is allocated, and what is in force: the same but for a container that runs during a resize."""
        status.resources.CopyFrom(container.resources)
        for name, value in container.resources.requests.items():
            status.allocatedResources[name].CopyFrom(value)
        if self._seen.resizing and last is not None and last.running and last.resources:
            status.resources.CopyFrom(resize.parsed(last.resources))

    def _waiting(self, name: str, waits: str, status: Any) -> None:
        failure = self._seen.step_failures.get(name)
        status.state.waiting.reason = waits
        if failure is not None:
            status.state.waiting.reason, status.state.waiting.message = failure.reason, failure.message

    def _ended(self, container: Any, last: Attempt, status: Any, *, again: bool) -> None:
        delay = self._policy.delay_after(last)
        failure = self._seen.step_failures.get(container.name)
        if again and failure is not None:
            status.state.waiting.reason, status.state.waiting.message = failure.reason, failure.message
        elif again and (last.finished_at or self._now) + delay > self._now:
            meta = self._pod.metadata
            status.state.waiting.reason = "CrashLoopBackOff"
            status.state.waiting.message = (
                f"back-off {_seconds(delay)} restarting failed container={container.name} "
                f"pod={meta.name}_{meta.namespace}({meta.uid})"
            )
        else:
            _terminated(self._pod, last, status.state)
            return
        _terminated(self._pod, last, status.lastState)


def _seconds(delay: float) -> str:
    minutes, seconds = divmod(int(delay), 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def _terminated(pod: Any, attempt: Attempt, state: Any) -> None:
    ended = state.terminated
    ended.exitCode = attempt.code
    if attempt.start_error:
        ended.reason = "StartError"
    elif attempt.oom_killed:
        ended.reason = "OOMKilled"
    else:
        ended.reason = "Completed" if attempt.code == 0 else "Error"
    text = attempt.start_error or attempt.message
    ended.message = terminationmessage.shortened(text, len(podspec.names(pod)))
    ended.containerID = container_id(pod, attempt)
    if attempt.started_at is not None:
        ended.startedAt.CopyFrom(codec.time_of(attempt.started_at))
    if attempt.finished_at is not None:
        ended.finishedAt.CopyFrom(codec.time_of(attempt.finished_at))


def container_id(pod: Any, attempt: Attempt) -> str:
    return f"pinnace://{pod.metadata.uid}/{attempt.name}/{attempt.number}"
