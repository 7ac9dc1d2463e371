"""Builders of what a node agent has seen of a pod."""

from __future__ import annotations

from typing import Any

from nodeagent.pods.model import Attempt, Life, Problem, Seen

T0 = 1000.0


def ran(name: str = "main", code: int | None = None, *, number: int = 0, at: float = T0, **rest: Any) -> Attempt:
    """A run of a container: still running, or ended at once with `code`."""
    ended = None if code is None else rest.pop("ended", at)
    return Attempt(
        name, number, rest.pop("image", "busybox"), started_at=at, finished_at=ended, code=code or 0, **rest
    )  # fmt: skip


def seen(
    *attempts: Attempt,
    ready: bool = True,
    problems: dict[str, Problem] | None = None,
    lives: dict[str, Life] | None = None,
    **rest: Any,
) -> Seen:
    """A pod that came to the node at T0; `ready`: its volumes and sandbox are made."""
    values = {"volumes": ready, "sandbox": ready, "address": "10.244.1.2" if ready else "", **rest}
    view = Seen(T0, problems=problems or {}, lives=dict(lives or {}), **values)
    for attempt in attempts:
        # Without probes and hooks, what runs has started and is ready.
        view.lives.setdefault(attempt.name, Life(started=True, ready=True))
        view.attempts[attempt.name] = (*view.attempts.get(attempt.name, ()), attempt)[-2:]
    return view
