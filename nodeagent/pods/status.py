"""A pod's status as Kubernetes would show it, from what was seen. Pure.

Source: the pod lifecycle page of Kubernetes: phases, conditions, container states and their reasons.
"""

from __future__ import annotations

from typing import Any

from nodeagent.pods import steps
from nodeagent.pods.model import Attempt, Policy, Seen
from pinnace import codec
from pinnace.core.v1 import containerstatus_pb2, pod_pb2


def pod_status(
    pod: Any, *, gone: bool, seen: Seen, now: float, host_ip: str, policy: Policy, previous: Any | None
) -> pod_pb2.PodStatus:
    """`previous` is the status reported last: conditions keep their transition times from it."""
    status = pod_pb2.PodStatus(hostIP=host_ip, observedGeneration=pod.metadata.generation)
    status.hostIPs.add(ip=host_ip)
    status.startTime.CopyFrom(codec.time_of(seen.started_at))
    address = host_ip if pod.spec.hostNetwork and seen.sandbox else seen.address
    if address:
        status.podIP = address
        status.podIPs.add(ip=address)
    for container in pod.spec.initContainers:
        status.initContainerStatuses.append(_container(pod, container, seen, now, policy, init=True))
    for container in pod.spec.containers:
        status.containerStatuses.append(_container(pod, container, seen, now, policy, init=False))
    end = steps.ending(pod, gone=gone, seen=seen, now=now)
    _phase(pod, seen, status, end)
    _conditions(pod, seen, status, previous, now, ending=end is not None)
    return status


def overridden(stored: Any, own: Any) -> bool:
    """Whether the stored status has lost our word on readiness: the control plane marks the pods of a silent node
    unready, and only their agent can say that they are ready again."""
    ready = {condition.type: condition.status for condition in own.conditions if condition.type == "Ready"}
    return any(ready.get(item.type, item.status) != item.status for item in stored.conditions)


def _phase(pod: Any, seen: Seen, status: pod_pb2.PodStatus, end: steps.Ending | None) -> None:
    outcome = steps.outcome(pod, seen)
    if end is not None and end.reason:
        status.phase, status.reason = "Failed", end.reason
        status.message = "Pod was active on the node longer than the specified deadline"
    elif end is not None and seen.released and outcome is None:
        # Deleted and stopped: what its containers' codes say.
        ends = [seen.last(container.name) for container in pod.spec.containers]
        status.phase = "Failed" if any(last is None or last.code for last in ends) else "Succeeded"
    elif outcome is not None:
        status.phase = outcome
    else:
        started = all(seen.last(container.name) is not None for container in pod.spec.containers)
        ran = any((last := seen.last(container.name)) is not None and last.started_at for container in pod.spec.containers)
        status.phase = "Running" if started and ran else "Pending"


def _container(
    pod: Any, container: Any, seen: Seen, now: float, policy: Policy, *, init: bool
) -> containerstatus_pb2.ContainerStatus:
    status = containerstatus_pb2.ContainerStatus(name=container.name, image=container.image, started=False)
    attempts = seen.attempts.get(container.name, ())
    last = attempts[-1] if attempts else None
    if last is None:
        _waiting(pod, container, seen, status, init=init)
        return status
    status.restartCount = last.number
    status.imageID = last.image_id
    status.containerID = container_id(pod, last)
    if last.running and last.started_at is not None:
        status.state.running.startedAt.CopyFrom(codec.time_of(last.started_at))
        status.started = True
        status.ready = not init
    elif last.running:
        status.state.waiting.reason = "ContainerCreating"
    else:
        _ended(pod, container, last, seen, now, policy, status, init=init)
    if len(attempts) > 1 and not status.lastState.ListFields():
        _terminated(pod, attempts[-2], status.lastState)
    if init and last.finished_at is not None and last.code == 0:
        status.ready = True
    return status


def _ended(pod: Any, container: Any, last: Attempt, seen: Seen, now: float, policy: Policy, status: Any, *, init: bool) -> None:
    if init:
        again = pod.spec.restartPolicy != "Never" and last.code != 0
    else:
        again = steps.restarts(pod, last)
    ending = steps.ending(pod, gone=False, seen=seen, now=now) is not None
    delay = policy.delay_after(last)
    problem = seen.problems.get(container.name)
    if again and not ending and problem is not None:
        status.state.waiting.reason, status.state.waiting.message = problem.reason, problem.message
        _terminated(pod, last, status.lastState)
    elif again and not ending and (last.finished_at or now) + delay > now:
        status.state.waiting.reason = "CrashLoopBackOff"
        status.state.waiting.message = (
            f"back-off {_seconds(delay)} restarting failed container={container.name} "
            f"pod={pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})"
        )
        _terminated(pod, last, status.lastState)
    else:
        _terminated(pod, last, status.state)


def _seconds(delay: float) -> str:
    minutes, seconds = divmod(int(delay), 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def _waiting(pod: Any, container: Any, seen: Seen, status: Any, *, init: bool) -> None:
    problem = seen.problems.get(container.name)
    if problem is not None:
        status.state.waiting.reason, status.state.waiting.message = problem.reason, problem.message
    elif not init and pod.spec.initContainers and not _initialized(pod, seen):
        status.state.waiting.reason = "PodInitializing"
    else:
        status.state.waiting.reason = "ContainerCreating"


def _terminated(pod: Any, attempt: Attempt, state: Any) -> None:
    ended = state.terminated
    ended.exitCode = attempt.code
    if attempt.start_error:
        ended.reason = "StartError"
    elif attempt.oom_killed:
        ended.reason = "OOMKilled"
    else:
        ended.reason = "Completed" if attempt.code == 0 else "Error"
    ended.message = attempt.start_error or attempt.message
    ended.containerID = container_id(pod, attempt)
    if attempt.started_at is not None:
        ended.startedAt.CopyFrom(codec.time_of(attempt.started_at))
    if attempt.finished_at is not None:
        ended.finishedAt.CopyFrom(codec.time_of(attempt.finished_at))


def container_id(pod: Any, attempt: Attempt) -> str:
    return f"pinnace://{pod.metadata.uid}/{attempt.name}/{attempt.number}"


def _initialized(pod: Any, seen: Seen) -> bool:
    ends = [seen.last(container.name) for container in pod.spec.initContainers]
    return all(last is not None and last.finished_at is not None and last.code == 0 for last in ends)


def _conditions(pod: Any, seen: Seen, status: Any, previous: Any | None, now: float, *, ending: bool) -> None:
    unready = [item.name for item in status.containerStatuses if not item.ready]
    listed = f"containers with unready status: [{' '.join(unready)}]" if unready else ""
    finished = status.phase in ("Succeeded", "Failed")
    reason = (
        "PodCompleted" if status.phase == "Succeeded" else "PodFailed" if finished else "ContainersNotReady" if unready else ""
    )
    ready = not unready and not finished
    initialized = _initialized(pod, seen)
    incomplete = [c.name for c in status.initContainerStatuses if not c.ready]
    for type_, value, why, message in (
        ("PodReadyToStartContainers", seen.sandbox and not seen.released, "", ""),
        ("Initialized", initialized, "" if initialized else "ContainersNotInitialized",
         "" if initialized else f"containers with incomplete status: [{' '.join(incomplete)}]"),
        ("ContainersReady", ready, reason, "" if ready or finished else listed),
        ("Ready", ready, reason, "" if ready or finished else listed),
    ):  # fmt: skip
        condition = status.conditions.add(type=type_, status="True" if value else "False", reason=why, message=message)
        before = next((c for c in previous.conditions if c.type == type_), None) if previous is not None else None
        if before is not None and before.status == condition.status:
            condition.lastTransitionTime.CopyFrom(before.lastTransitionTime)
        else:
            condition.lastTransitionTime.CopyFrom(codec.time_of(now))
