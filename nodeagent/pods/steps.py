"""What to do next for a pod: a pure state machine. One step a call; states never go backward.

    volumes -> sandbox -> init containers and sidecars, in order -> containers -> (restarts by policy) -> end -> teardown

Given the wanted pod, what was seen, and the time, `next_step` names one step or a wait. It knows nothing of how a
step is done, so every path through a pod's life is a table in a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nodeagent.pods.endings import MINIMUM_GRACE, Ending, due, ending, next_wave
from nodeagent.pods.model import RELEASE, Attempt, Life, Policy, Seen, Stopping
from nodeagent.pods.restarts import begun, done, outcome, passed, replaced, runs_again
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
    told: Stopping
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
class Release:
    """The pod has ended: give back its network, keep its logs and status."""


@dataclass(frozen=True, slots=True)
class Teardown:
    """Remove everything of the pod from the node."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until something happens, or until `until`."""

    until: float | None = None


Step = MountVolumes | CreateSandbox | Start | PostStart | Terminate | Signal | Kill | Release | Teardown | Wait


def next_step(pod: Any, *, gone: bool, seen: Seen, now: float, policy: Policy) -> Step:
    """The one step to do now, or a wait."""
    end = ending(pod, gone=gone, seen=seen, now=now)
    if end is not None:
        return _end(pod, end, seen, now)
    if outcome(pod, seen) is not None:
        # What still runs are sidecars (or a container beside a failed one): they end as in a deletion.
        return _end(pod, Ending(now + pod.spec.terminationGracePeriodSeconds, remove=False), seen, now)
    step = _forward(pod, seen, now, policy)
    over = due(pod, seen)
    return _earliest(step, Wait(over)) if isinstance(step, Wait) and over is not None else step


def _forward(pod: Any, seen: Seen, now: float, policy: Policy) -> Step:
    if not seen.volumes:
        return _unless_waiting(seen, "", now) or MountVolumes()
    if not seen.sandbox:
        return _unless_waiting(seen, "", now) or CreateSandbox()
    return _run(pod, seen, now, policy)


def _run(pod: Any, seen: Seen, now: float, policy: Policy) -> Step:
    """The first container that wants something, in the order in which they may start."""
    held = Wait()
    for container in ephemeral(pod):
        # Started once, whatever the others do; its end changes nothing.
        step = _advance(pod, container, seen, now, policy, again=False)
        if not isinstance(step, Wait):
            return step
        held = _earliest(held, step)
    let_in = begun(pod, seen)
    for container in pod.spec.initContainers:
        if not is_sidecar(container) and (let_in or done(container, seen)):
            continue
        again = runs_again(pod, container, seen, init=True)
        step = _advance(pod, container, seen, now, policy, again=again)
        if not isinstance(step, Wait):
            return step
        held = _earliest(held, step)
        if not let_in and not (is_sidecar(container) and passed(container, seen)):
            return held
    for container in pod.spec.containers:
        step = _advance(pod, container, seen, now, policy, again=runs_again(pod, container, seen))
        if not isinstance(step, Wait):
            return step
        held = _earliest(held, step)
    return held


def _earliest(one: Wait, other: Wait) -> Wait:
    waits = [until for until in (one.until, other.until) if until is not None]
    return Wait(min(waits, default=None))


def _unless_waiting(seen: Seen, name: str, now: float) -> Wait | None:
    problem = seen.problems.get(name)
    return Wait(problem.retry_at) if problem is not None and problem.retry_at > now else None


def _advance(pod: Any, container: Any, seen: Seen, now: float, policy: Policy, *, again: bool) -> Step:
    held = _unless_waiting(seen, container.name, now)
    last = seen.last(container.name)
    if last is None:
        return held or Start(container.name, 0, 0)
    if last.running:
        return _tend(pod, container, last, seen.life(container.name), now)
    if not again:
        return Wait()
    ended = last.finished_at or now
    ready = ended + (0.0 if replaced(container, seen) else policy.delay_after(last))
    # An end in the future: the clock was set back, and to wait for it again could take for ever.
    if ended <= now < ready:
        return Wait(ready)
    return held or Start(container.name, last.number + 1, policy.streak_after(last))


def _tend(pod: Any, container: Any, last: Attempt, life: Life, now: float) -> Step:
    """What a running container needs: its hook, or its end."""
    name, grace = container.name, pod.spec.terminationGracePeriodSeconds
    if life.stopping is not None:
        return _stop(name, life.stopping, now, None)
    if last.image != container.image:
        return _terminate(name, now + grace, f"Container {name} definition changed, will be restarted")
    if life.fault is not None:
        return _terminate(name, now + (grace if life.fault.grace is None else life.fault.grace), life.fault.message)
    if container.lifecycle.HasField("postStart") and life.post_start == "":
        return PostStart(name)
    return Wait()


def _terminate(name: str, deadline: float, why: str = "", *, asked: float | None = None) -> Terminate:
    return Terminate(name, Stopping(deadline, deadline if asked is None else asked), why)


def _stop(name: str, told: Stopping, now: float, end: Ending | None) -> Step:
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


def _end(pod: Any, end: Ending, seen: Seen, now: float) -> Step:
    """Stop what runs, wave by wave; then give back or remove."""
    wave = next_wave(pod, seen)
    held = Wait()
    for attempt in wave:
        step = _stop_at(attempt.name, end, seen, now)
        if not isinstance(step, Wait):
            return step
        held = _earliest(held, step)
    if wave:
        return held
    if end.remove:
        return Teardown()
    return Wait() if seen.released else _unless_waiting(seen, RELEASE, now) or Release()


def _stop_at(name: str, end: Ending, seen: Seen, now: float) -> Step:
    told = seen.life(name).stopping
    if told is not None:
        return _stop(name, told, now, end)
    if not end.graceful:
        return Kill(name)
    # The pod's time may be over before it is this one's turn (a sidecar).
    return _terminate(name, max(end.deadline, now + MINIMUM_GRACE), asked=end.deadline)
