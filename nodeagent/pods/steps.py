"""What to do next for a pod: a pure state machine. One step a call; states never go backward.

    volumes -> sandbox -> init containers and sidecars, in order -> containers -> (restarts by policy) -> end -> teardown

Given the wanted pod, what was seen, and the time, `next_step` names one step or a wait. It knows nothing of how a
step is done, so every path through a pod's life is a table in a test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from nodeagent.pods import resize
from nodeagent.pods.model import RELEASE, RESIZE, Attempt, ContainerTermination, LifecycleState, ObservedState, Policy
from nodeagent.pods.restarts import begun, done, outcome, passed, replaced, restart_of_all, runs_again
from nodeagent.pods.termination import MINIMUM_GRACE, PodTermination, due, ending, next_wave
from pinnace.podspec import ephemeral, is_sidecar


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
class PostStart:
    """Begin the postStart hook of a container that runs."""

    name: str


@dataclass(frozen=True, slots=True)
class Terminate:
    """Begin to stop a container: its preStop hook first, if it has one."""

    name: str
    told: ContainerTermination
    why: str = ""


@dataclass(frozen=True, slots=True)
class Signal:
    """Send a container its stop signal; it has until `deadline` now."""

    name: str
    deadline: float


@dataclass(frozen=True, slots=True)
class Kill:
    name: str


@dataclass(frozen=True, slots=True)
class Resize:
    """Put the allocated resources into force on the pod's cgroup and on running containers that need no restart for it."""


@dataclass(frozen=True, slots=True)
class FinishResize:
    """All allocated resources are in force."""


@dataclass(frozen=True, slots=True)
class RestartAll:
    """Begin anew in the same sandbox, with the same volumes: init containers first. Nothing runs any more; `cause` is the
    attempt that asked for it."""

    cause: Attempt


@dataclass(frozen=True, slots=True)
class Release:
    """The pod has ended: release its network, keep its logs and status."""


@dataclass(frozen=True, slots=True)
class Teardown:
    """Remove everything of the pod from the node."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until something happens, or until `until`."""

    until: float | None = None


Step = (
    MountVolumes | CreateSandbox | Start | PostStart | Terminate | Signal | Kill | Resize | FinishResize | RestartAll | Release
    | Teardown | Wait
)  # fmt: skip


def next_step(pod: Any, *, gone: bool, observed: ObservedState, now: float, policy: Policy) -> Step:
    """The one step to do now, or a wait."""
    end = ending(pod, gone=gone, observed=observed, now=now)
    if end is not None:
        return _end(pod, end, observed, now)
    if outcome(pod, observed) is not None:
        # What still runs are sidecars (or a container of a pod in which another failed): they end as in a deletion.
        return _end(pod, PodTermination(now + pod.spec.terminationGracePeriodSeconds, remove=False), observed, now)
    cause = restart_of_all(pod, observed)
    step = _forward(pod, observed, now, policy) if cause is None else _restart_all(pod, cause, observed, now, policy)
    over = due(pod, observed)
    return _earliest(step, Wait(over)) if isinstance(step, Wait) and over is not None else step


def _restart_all(pod: Any, cause: Attempt, observed: ObservedState, now: float, policy: Policy) -> Step:
    """Kill what runs: neither hooks nor a grace period delay a restart. Then wait out the back-off of its cause."""
    names = {container.name for container in (*pod.spec.initContainers, *pod.spec.containers)}
    running = [attempt.name for attempt in observed.running() if attempt.name in names]
    for name in running:
        told = observed.lifecycle(name).stopping
        if told is None or not told.killed:
            return Kill(name)
    if running:
        return Wait()
    ended = cause.finished_at or now
    ready = ended + policy.delay_after(cause)
    return Wait(ready) if ended <= now < ready else RestartAll(cause)


def _forward(pod: Any, observed: ObservedState, now: float, policy: Policy) -> Step:
    if not observed.volumes:
        return _unless_waiting(observed, "", now) or MountVolumes()
    if not observed.sandbox:
        # What still runs in a sandbox that was lost could not be reached in the new one.
        end = PodTermination(now + pod.spec.terminationGracePeriodSeconds, remove=False)
        return (
            _stop_wave(pod, end, observed, now) or _unless_waiting(observed, "", now) or _held(observed, now) or CreateSandbox()
        )
    return _run(pod, observed, now, policy)


def _held(observed: ObservedState, now: float) -> Wait | None:
    """Whether the pod may be another node's by now."""
    if observed.held_until is None or now >= observed.held_until:
        return None
    return Wait(observed.held_until if observed.held_until < math.inf else None)


def _run(pod: Any, observed: ObservedState, now: float, policy: Policy) -> Step:
    """The first container that wants something, in the order in which they may start; before them, other resources."""
    held = Wait()
    if observed.resizing:
        step = _resize(pod, observed, now)
        if not isinstance(step, Wait):
            return step
        held = step
    for container in ephemeral(pod):
        # Started once, whatever the others do; its end changes nothing.
        step = _advance(pod, container, observed, now, policy, again=False)
        if not isinstance(step, Wait):
            return step
        held = _earliest(held, step)
    let_in = begun(pod, observed)
    for container in pod.spec.initContainers:
        if not is_sidecar(container) and (let_in or done(container, observed)):
            continue
        again = runs_again(pod, container, observed, init=True)
        step = _advance(pod, container, observed, now, policy, again=again)
        if not isinstance(step, Wait):
            return step
        held = _earliest(held, step)
        if not let_in and not (is_sidecar(container) and passed(container, observed)):
            return held
    for container in pod.spec.containers:
        step = _advance(pod, container, observed, now, policy, again=runs_again(pod, container, observed))
        if not isinstance(step, Wait):
            return step
        held = _earliest(held, step)
    return held


def _resize(pod: Any, observed: ObservedState, now: float) -> Step:
    """Containers that need a restart stop first and start last: what the others get may be what these had, and the pod has
    its limits before a container starts with more."""
    stopping = starting = False
    for container in resize.resizable(pod):
        name, last = container.name, observed.last(container.name)
        if last is None or not resize.needs_restart(container, last):
            continue
        told = observed.lifecycle(name).stopping is not None
        if last.running and not told:
            text = f"Container {name} resize requires restart"
            return _terminate(name, now + pod.spec.terminationGracePeriodSeconds, text)
        stopping = stopping or last.running
        starting = starting or told
    if stopping:
        return Wait()
    if observed.limits_due or resize.in_place(pod, observed):
        return _unless_waiting(observed, RESIZE, now) or Resize()
    return Wait() if starting else FinishResize()


def _earliest(one: Wait, other: Wait) -> Wait:
    waits = [until for until in (one.until, other.until) if until is not None]
    return Wait(min(waits, default=None))


def _unless_waiting(observed: ObservedState, name: str, now: float) -> Wait | None:
    failure = observed.step_failures.get(name)
    return Wait(failure.retry_at) if failure is not None and failure.retry_at > now else None


def _advance(pod: Any, container: Any, observed: ObservedState, now: float, policy: Policy, *, again: bool) -> Step:
    held = _unless_waiting(observed, container.name, now)
    last = observed.last(container.name)
    if last is not None and last.running:
        return _tend(pod, container, last, observed.lifecycle(container.name), now)
    if last is not None and not again:
        return Wait()
    if _hook_runs(observed):
        return Wait()
    if last is None:
        return held or Start(container.name, 0, 0)
    if observed.current(container.name) is None:
        # All containers begin anew: a back-off was that of the one that asked for it.
        return held or Start(container.name, last.number + 1, policy.streak_after(last))
    ended = last.finished_at or now
    ready = ended + (0.0 if replaced(container, observed) else policy.delay_after(last))
    # An end in the future: the clock was set back, and to wait for it again could take for ever.
    if ended <= now < ready:
        return Wait(ready)
    return held or Start(container.name, last.number + 1, policy.streak_after(last))


def _hook_runs(observed: ObservedState) -> bool:
    """Whether a postStart hook holds back the start of every other container, as in kubelet."""
    return any(observed.lifecycle(attempt.name).post_start == "running" for attempt in observed.running())


def _tend(pod: Any, container: Any, last: Attempt, lifecycle: LifecycleState, now: float) -> Step:
    """What a running container needs: its hook, or its end."""
    name, grace = container.name, pod.spec.terminationGracePeriodSeconds
    if lifecycle.stopping is not None:
        return _stop(name, lifecycle.stopping, now, None)
    if last.image != container.image:
        return _terminate(name, now + grace, f"Container {name} definition changed, will be restarted")
    if lifecycle.fault is not None:
        return _terminate(
            name, now + (grace if lifecycle.fault.grace is None else lifecycle.fault.grace), lifecycle.fault.message
        )
    if container.lifecycle.HasField("postStart") and lifecycle.post_start == "":
        return PostStart(name)
    return Wait()


def _terminate(name: str, deadline: float, why: str = "", *, asked: float | None = None) -> Terminate:
    return Terminate(name, ContainerTermination(deadline, deadline if asked is None else asked), why)


def _stop(name: str, told: ContainerTermination, now: float, end: PodTermination | None) -> Step:
    """The next step for a container that is being stopped: hook, signal, kill."""
    if told.killed:
        return Wait()
    if end is not None and not end.graceful:
        return Kill(name)
    deadline = told.deadline
    if end is not None and end.deadline < told.asked:
        deadline = min(deadline, end.deadline)
    if told.hook == "running" and now < deadline:
        return Wait(deadline)
    if not told.signalled:
        # A hook that took all of the time leaves the program a moment to end by itself.
        deadline = max(deadline, now + MINIMUM_GRACE) if told.hook else deadline
        return Signal(name, deadline) if deadline > now else Kill(name)
    return Wait(deadline) if deadline > now else Kill(name)


def _end(pod: Any, end: PodTermination, observed: ObservedState, now: float) -> Step:
    """Stop what runs, wave by wave; then release or remove."""
    step = _stop_wave(pod, end, observed, now)
    if step is not None:
        return step
    if end.remove:
        return Teardown()
    return Wait() if observed.released else _unless_waiting(observed, RELEASE, now) or Release()


def _stop_wave(pod: Any, end: PodTermination, observed: ObservedState, now: float) -> Step | None:
    """Stop the containers whose turn it is; None once nothing runs any more."""
    wave = next_wave(pod, observed)
    held = Wait()
    for attempt in wave:
        step = _stop_at(attempt.name, end, observed, now)
        if not isinstance(step, Wait):
            return step
        held = _earliest(held, step)
    return held if wave else None


def _stop_at(name: str, end: PodTermination, observed: ObservedState, now: float) -> Step:
    told = observed.lifecycle(name).stopping
    if told is not None:
        return _stop(name, told, now, end)
    if not end.graceful:
        return Kill(name)
    # The pod's time may be over before it is this one's turn (a sidecar).
    return _terminate(name, max(end.deadline, now + MINIMUM_GRACE), asked=end.deadline)
