"""What to do next for a pod: a pure state machine. One step a call; states never go backward.

    volumes -> sandbox -> init containers, one by one -> containers -> (restarts by policy) -> terminal -> teardown

Given the wanted pod, what was seen, and the time, `next_step` names one step or a wait. It knows nothing of how a
step is done, so every path through a pod's life is a table in a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nodeagent.pods.model import Attempt, Policy, Seen

# A pod that is no longer assigned was deleted by force: nobody waits for it, so its containers are killed at once.
FORCED_GRACE = 0.0


@dataclass(frozen=True, slots=True)
class MountVolumes:
    pass


@dataclass(frozen=True, slots=True)
class CreateSandbox:
    pass


@dataclass(frozen=True, slots=True)
class Start:
    """Start attempt `number` of a container."""

    name: str
    number: int
    streak: int


@dataclass(frozen=True, slots=True)
class Terminate:
    """Ask a container to end, and give it until `deadline`."""

    name: str
    deadline: float


@dataclass(frozen=True, slots=True)
class Kill:
    name: str


@dataclass(frozen=True, slots=True)
class Release:
    """The pod has ended: give back its network, keep its logs and status."""


@dataclass(frozen=True, slots=True)
class Teardown:
    """Remove everything of the pod from the node."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until something happens, or until `until`."""

    until: float | None = None


Step = MountVolumes | CreateSandbox | Start | Terminate | Kill | Release | Teardown | Wait


@dataclass(frozen=True, slots=True)
class Ending:
    """Why no container may be started any more. `deadline`: when the last one is killed."""

    deadline: float
    remove: bool
    reason: str = ""


def ending(pod: Any, *, gone: bool, seen: Seen, now: float) -> Ending | None:
    """Whether the pod is on its way out: deleted, no longer assigned, or past its activeDeadlineSeconds."""
    meta = pod.metadata
    if gone:
        return Ending(deadline=now + FORCED_GRACE, remove=True)
    if meta.deletionTimestamp.seconds:
        return Ending(deadline=float(meta.deletionTimestamp.seconds), remove=True)
    due = _due(pod, seen)
    if due is not None and now >= due and not _over_before(pod, seen, due):
        grace = pod.spec.terminationGracePeriodSeconds
        return Ending(deadline=due + grace, remove=False, reason="DeadlineExceeded")
    return None


def _due(pod: Any, seen: Seen) -> float | None:
    """When the pod's activeDeadlineSeconds are over."""
    return seen.started_at + pod.spec.activeDeadlineSeconds if pod.spec.HasField("activeDeadlineSeconds") else None


def _over_before(pod: Any, seen: Seen, due: float) -> bool:
    """Whether the pod had ended by itself by then: a pod that has succeeded does not fail later."""
    ends = [attempts[-1].finished_at for attempts in seen.attempts.values() if attempts]
    return outcome(pod, seen) is not None and all(end is not None and end < due for end in ends)


def next_step(pod: Any, *, gone: bool, seen: Seen, now: float, policy: Policy) -> Step:
    end = ending(pod, gone=gone, seen=seen, now=now)
    if end is not None:
        return _end(pod, end, seen, now)
    if outcome(pod, seen) is not None:
        return _settle(pod, seen, now)
    step = _forward(pod, seen, now, policy)
    due = _due(pod, seen)
    if isinstance(step, Wait) and due is not None:
        return Wait(due if step.until is None else min(due, step.until))
    return step


def _forward(pod: Any, seen: Seen, now: float, policy: Policy) -> Step:
    if not seen.volumes:
        return _unless_waiting(seen, "", now) or MountVolumes()
    if not seen.sandbox:
        return _unless_waiting(seen, "", now) or CreateSandbox()
    return _run(pod, seen, now, policy)


def _end(pod: Any, end: Ending, seen: Seen, now: float) -> Step:
    running = _running(seen)
    for attempt in running:
        told = seen.stopping.get(attempt.name)
        if told is None:
            return Terminate(attempt.name, end.deadline) if end.deadline > now else Kill(attempt.name)
        if not told.killed and min(told.deadline, end.deadline) <= now:
            return Kill(attempt.name)
    if running:
        waiting = [min(seen.stopping[a.name].deadline, end.deadline) for a in running if not seen.stopping[a.name].killed]
        return Wait(min(waiting, default=None))
    if end.remove:
        return Teardown()
    return Wait() if seen.released else Release()


def _running(seen: Seen) -> list[Attempt]:
    return [attempts[-1] for attempts in seen.attempts.values() if attempts and attempts[-1].running]


def _settle(pod: Any, seen: Seen, now: float) -> Step:
    if _running(seen):
        # A failed init container with a sibling still running cannot be; a failed pod is stopped all the same.
        return _end(pod, Ending(now + pod.spec.terminationGracePeriodSeconds, remove=False), seen, now)
    return Wait() if seen.released else Release()


def _unless_waiting(seen: Seen, name: str, now: float) -> Wait | None:
    problem = seen.problems.get(name)
    return Wait(problem.retry_at) if problem is not None and problem.retry_at > now else None


def _run(pod: Any, seen: Seen, now: float, policy: Policy) -> Step:
    for container in pod.spec.initContainers:
        last = seen.last(container.name)
        if last is not None and last.finished_at is not None and last.code == 0:
            continue
        # Init containers restart unless the pod never restarts.
        again = pod.spec.restartPolicy != "Never" or _replaced(container, seen)
        return _advance(pod, container, seen, now, policy, restart=again)
    waits: list[float | None] = []
    for container in pod.spec.containers:
        last = seen.last(container.name)
        step = _advance(pod, container, seen, now, policy, restart=_again(pod, container, seen))
        if not isinstance(step, Wait):
            return step
        waits.append(step.until)
    return Wait(min((until for until in waits if until is not None), default=None))


def _advance(pod: Any, container: Any, seen: Seen, now: float, policy: Policy, *, restart: bool) -> Step:
    held = _unless_waiting(seen, container.name, now)
    last = seen.last(container.name)
    if last is None:
        return held or Start(container.name, 0, 0)
    if last.running:
        return _replace(pod, container, seen, now)
    if not restart:
        return Wait()
    due = (last.finished_at or now) + policy.delay_after(last)
    if due > now:
        return Wait(due)
    return held or Start(container.name, last.number + 1, policy.streak_after(last))


def _replace(pod: Any, container: Any, seen: Seen, now: float) -> Step:
    """A running container stays, unless its image was changed: then it is stopped, and restarts with the new one."""
    last = seen.last(container.name)
    if last is None or last.image == container.image:
        return Wait()
    told = seen.stopping.get(container.name)
    if told is None:
        return Terminate(container.name, now + pod.spec.terminationGracePeriodSeconds)
    return Wait(None if told.killed else told.deadline) if told.killed or told.deadline > now else Kill(container.name)


def _replaced(container: Any, seen: Seen) -> bool:
    """Whether the container was stopped for a new image: then it starts again whatever the pod's policy."""
    last = seen.last(container.name)
    return last is not None and not last.running and container.name in seen.stopping and last.image != container.image


def _again(pod: Any, container: Any, seen: Seen) -> bool:
    return _replaced(container, seen) or restarts(pod, seen.last(container.name))


def restarts(pod: Any, last: Attempt | None) -> bool:
    """Whether the pod's policy starts a container again after `last`."""
    if last is None or last.running or pod.spec.restartPolicy == "Always":
        return True
    return bool(pod.spec.restartPolicy == "OnFailure" and last.code != 0)


def outcome(pod: Any, seen: Seen) -> str | None:
    """`Succeeded` or `Failed` once no container will run again, else None."""
    if pod.spec.restartPolicy == "Never":
        for container in pod.spec.initContainers:
            last = seen.last(container.name)
            if last is not None and not last.running and last.code != 0 and not _replaced(container, seen):
                return "Failed"
    ends = [seen.last(container.name) for container in pod.spec.containers]
    if any(last is None or last.running for last in ends) or any(_again(pod, c, seen) for c in pod.spec.containers):
        return None
    return "Failed" if any(last is not None and last.code != 0 for last in ends) else "Succeeded"
