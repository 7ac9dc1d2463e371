"""Builders of what a node agent has seen of a pod."""

from __future__ import annotations

from typing import Any

from nodeagent.pods.model import Attempt, LifecycleState, ObservedState, StepFailure

T0 = 1000.0


def ran(name: str = "main", code: int | None = None, *, number: int = 0, at: float = T0, **rest: Any) -> Attempt:
    """A run of a container: still running, or ended at once with `code`."""
    ended = None if code is None else rest.pop("ended", at)
    return Attempt(
        name, number, rest.pop("image", "busybox"), started_at=at, finished_at=ended, code=code or 0, **rest
    )  # fmt: skip


def observed(
    *attempts: Attempt,
    ready: bool = True,
    step_failures: dict[str, StepFailure] | None = None,
    lifecycles: dict[str, LifecycleState] | None = None,
    **rest: Any,
) -> ObservedState:
    """A pod that came to the node at T0; `ready`: its volumes and sandbox are made."""
    values = {"volumes": ready, "sandbox": ready, "addresses": ("10.244.1.2",) if ready else (), **rest}
    view = ObservedState(T0, step_failures=step_failures or {}, lifecycles=dict(lifecycles or {}), **values)
    for attempt in attempts:
        # Without probes and hooks, what runs has started and is ready.
        view.lifecycles.setdefault(attempt.name, LifecycleState(started=True, ready=True))
        view.attempts[attempt.name] = (*view.attempts.get(attempt.name, ()), attempt)[-2:]
    return view
