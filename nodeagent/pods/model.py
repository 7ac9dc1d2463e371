"""Observed state of a pod on this node: values that `steps` and `status` decide from; `state` owns them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

Hook = Literal["", "running", "done"]


# The key in `ObservedState.step_failures` of what an ended pod held and could not be given back. No container has this name.
RELEASE = "/release"
# The same of a change of resources that could not be put into force.
RESIZE = "/resize"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a container. `number` is its restart count; `streak` counts quick failures before it; `epoch` is that of
    the pod when it started (see `ObservedState`)."""

    name: str
    number: int
    image: str
    image_id: str = ""
    streak: int = 0
    # The signal that asks it to end.
    stop_signal: int = 15
    # Set once the program ran.
    started_at: float | None = None
    # Set once it ended; `code` is then valid.
    finished_at: float | None = None
    code: int = 0
    signal: int = 0
    oom_killed: bool = False
    message: str = ""
    # Why it could not be started at all.
    start_error: str = ""
    epoch: int = 0
    # Requests and limits that it runs with, as JSON (`resize.text_of`); empty: started by an agent that did not record them.
    resources: str = ""

    @property
    def running(self) -> bool:
        return self.finished_at is None


@dataclass(frozen=True, slots=True)
class StepFailure:
    """Why a step failed and when it may be tried again. `reason` is Kubernetes' (ErrImagePull...)."""

    reason: str
    message: str
    retry_at: float
    failures: int = 1


@dataclass(frozen=True, slots=True)
class ContainerTermination:
    """A container that was told to stop. `hook` is its preStop's; `signalled`: the stop signal was sent."""

    deadline: float
    # When the pod's own time was to be over as it was told: an earlier end since then counts for it too.
    asked: float
    hook: Hook = ""
    signalled: bool = False
    killed: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a running container must go: a probe or its postStart hook failed. `grace` in seconds, None: the pod's."""

    message: str
    grace: int | None = None


@dataclass(frozen=True, slots=True)
class LifecycleState:
    """What became of the present run of a container beyond its processes. Kept on disk, so that an agent that starts
    again neither repeats a hook nor loses that a container was ready."""

    post_start: Hook = ""
    # Its startup probe has passed, or it has none.
    started: bool = False
    # Its readiness probe has passed, or it has none.
    ready: bool = False
    fault: Fault | None = None
    stopping: ContainerTermination | None = None


@dataclass(frozen=True, slots=True)
class Eviction:
    """The node's decision to end the pod, or never to begin it. `deadline`: when its time is over; 0: everything is
    killed at once. `disruption`: nothing that the pod did itself is the cause."""

    reason: str
    message: str
    deadline: float
    disruption: bool = False


@dataclass(frozen=True, slots=True)
class PendingResize:
    """Resources that are wanted and not allocated. `reason`: Deferred, until there is room, or Infeasible."""

    reason: str
    message: str


@dataclass(slots=True)
class ObservedState:
    """Observed state of a pod; input of `next_step`. `attempts` holds the last two of each container, oldest first;
    `step_failures` are by container name, with "" for the pod's own (sandbox, volumes)."""

    started_at: float
    sandbox: bool = False
    released: bool = False
    # Of each address family one, the primary one first; empty before it has any.
    addresses: tuple[str, ...] = ()
    volumes: bool = False
    attempts: dict[str, tuple[Attempt, ...]] = field(default_factory=dict)
    lifecycles: dict[str, LifecycleState] = field(default_factory=dict)
    step_failures: dict[str, StepFailure] = field(default_factory=dict)
    eviction: Eviction | None = None
    # When its sandbox may be made although the control plane has not confirmed the pod; None: it has (see `ownership`).
    held_until: float | None = None
    # When the time of a deleted pod is over, by this node's clock; its deletionTimestamp is by another's.
    leaves_at: float | None = None
    # How often all containers began anew: restarted together (restart rules), or in a new sandbox. Earlier attempts are
    # history, but for main containers that had ended for good when the sandbox was lost.
    epoch: int = 0
    finished: frozenset[str] = frozenset()
    # Other resources were allocated, which are not all in force yet; `limits_due`: nor on the cgroup of the pod.
    resizing: bool = False
    limits_due: bool = False
    resize_pending: PendingResize | None = None

    @property
    def address(self) -> str:
        """Of the primary family."""
        return next(iter(self.addresses), "")

    def last(self, name: str) -> Attempt | None:
        attempts = self.attempts.get(name)
        return attempts[-1] if attempts else None

    def recent(self, name: str) -> Attempt | None:
        """The last attempt of this epoch."""
        last = self.last(name)
        return last if last is not None and last.epoch >= self.epoch else None

    def current(self, name: str) -> Attempt | None:
        """The last attempt of this epoch, or one that had ended for good before it."""
        return self.last(name) if name in self.finished else self.recent(name)

    def lifecycle(self, name: str) -> LifecycleState:
        return self.lifecycles.get(name) or LifecycleState()

    def running(self) -> list[Attempt]:
        """The runs that have not ended."""
        return [attempts[-1] for attempts in self.attempts.values() if attempts and attempts[-1].running]

    def change(self, name: str, **fields: Any) -> LifecycleState:
        """Change what is known of a container's present run."""
        self.lifecycles[name] = replace(self.lifecycle(name), **fields)
        return self.lifecycles[name]


@dataclass(frozen=True, slots=True)
class Policy:
    """Delays in seconds, as kubelet has them; all configurable."""

    backoff: float = 10.0
    max_backoff: float = 300.0
    # A run this long makes earlier failures forgotten.
    backoff_reset: float = 600.0

    def delay(self, failures: int) -> float:
        """Before the next try after `failures` in a row: the first repeat is immediate."""
        return 0.0 if failures <= 0 else min(self.backoff * 2.0 ** min(failures - 1, 30), self.max_backoff)

    def delay_after(self, attempt: Attempt) -> float:
        """Before the run that follows `attempt`."""
        return 0.0 if self._forgiven(attempt) else self.delay(attempt.streak)

    def streak_after(self, attempt: Attempt) -> int:
        """The streak of the run that follows `attempt`."""
        return 0 if self._forgiven(attempt) else attempt.streak + 1

    def _forgiven(self, attempt: Attempt) -> bool:
        ran = (attempt.finished_at or 0.0) - (attempt.started_at or attempt.finished_at or 0.0)
        return ran >= self.backoff_reset
