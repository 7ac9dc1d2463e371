"""What has been seen of a pod on this node: values that `steps` and `status` decide from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

Hook = Literal["", "running", "done"]


# Under this name in `Seen.problems`: what an ended pod held could not be given back. No container is called so.
RELEASE = "/release"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a container. `number` is its restart count; `streak` counts quick failures before it."""

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

    @property
    def running(self) -> bool:
        return self.finished_at is None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a step failed and when it may be tried again. `reason` is Kubernetes' (ErrImagePull...)."""

    reason: str
    message: str
    retry_at: float
    failures: int = 1


@dataclass(frozen=True, slots=True)
class Stopping:
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
class Life:
    """What became of the present run of a container beyond its processes. Kept on disk, so that an agent that starts
    again neither repeats a hook nor forgets that a container was ready."""

    post_start: Hook = ""
    # Its startup probe has passed, or it has none.
    started: bool = False
    # Its readiness probe has passed, or it has none.
    ready: bool = False
    fault: Fault | None = None
    stopping: Stopping | None = None


@dataclass(frozen=True, slots=True)
class Eviction:
    """The node's decision to end the pod, or never to begin it. `deadline`: when its time is over; 0: everything is
    killed at once. `disruption`: nothing that the pod did itself is the cause."""

    reason: str
    message: str
    deadline: float
    disruption: bool = False


@dataclass(slots=True)
class Seen:
    """A pod as it is. `attempts` holds the last two of each container, oldest first; problems are by container name,
    with "" for the pod's own (sandbox, volumes)."""

    started_at: float
    sandbox: bool = False
    released: bool = False
    address: str = ""
    volumes: bool = False
    attempts: dict[str, tuple[Attempt, ...]] = field(default_factory=dict)
    lives: dict[str, Life] = field(default_factory=dict)
    problems: dict[str, Problem] = field(default_factory=dict)
    eviction: Eviction | None = None
    # When the time of a deleted pod is over, by this node's clock; its deletionTimestamp is by another's.
    leaves_at: float | None = None

    def last(self, name: str) -> Attempt | None:
        attempts = self.attempts.get(name)
        return attempts[-1] if attempts else None

    def life(self, name: str) -> Life:
        return self.lives.get(name) or Life()

    def running(self) -> list[Attempt]:
        """The runs that have not ended."""
        return [attempts[-1] for attempts in self.attempts.values() if attempts and attempts[-1].running]

    def change(self, name: str, **fields: Any) -> Life:
        """Change what is known of a container's present run."""
        self.lives[name] = replace(self.life(name), **fields)
        return self.lives[name]


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
