"""What has been seen of a pod on this node: values that `steps` and `status` decide from."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a container. `number` is its restart count; `streak` counts quick failures before it."""

    name: str
    number: int
    image: str
    image_id: str = ""
    streak: int = 0
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
    """A container that was told to stop."""

    deadline: float
    killed: bool = False


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
    problems: dict[str, Problem] = field(default_factory=dict)
    stopping: dict[str, Stopping] = field(default_factory=dict)

    def last(self, name: str) -> Attempt | None:
        attempts = self.attempts.get(name)
        return attempts[-1] if attempts else None


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
