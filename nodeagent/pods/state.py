"""The one owner of a pod's observed state: each change is recorded on disk and wakes the worker in the same call.

`model` has the values that it holds, `checkpoint` the files. Whoever sees something of the pod (a step, a task that waits for
an end, a probe) says it here; `steps` and `status` only read.

What must be on disk before a container starts raises OSError when it cannot be written; the rest is best effort, for on a full
disk pods must come to their end. An agent that starts again then knows a little less.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from nodeagent.pods.checkpoint import PodCheckpoint
from nodeagent.pods.model import RESIZE, Attempt, Eviction, LifecycleState, ObservedState, PendingResize, Policy, StepFailure
from nodeagent.runtime.handlers import NATIVE
from pinnace.clock import Clock
from pinnace.heldresources import ERROR

# Seconds before a failed step (sandbox, volume, image, configuration) is tried again, doubling up to the policy's bound.
RETRY = 2.0
# The same for a change of resources, at most.
RESIZE_RETRY = 60.0
# Attempts of a container whose bundles and logs are kept: the present one and `kctl logs --previous`.
KEPT = 2
# Reasons that events give by another name.
_EVENT_REASONS = dict.fromkeys(
    ("ErrImagePull", "ErrImageNeverPull", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"), "Failed"
)
# Reason, message, whether it is a warning.
Event = Callable[[str, str, bool], None]


class PodState:
    """`event` records an event about the pod."""

    def __init__(self, checkpoint: PodCheckpoint, clock: Clock, policy: Policy, event: Event) -> None:
        self.checkpoint = checkpoint
        self.observed = ObservedState(started_at=clock.now())
        # Of the pod's runtime; known once its sandbox is made.
        self.handler = NATIVE
        # Set when there may be something to do.
        self.changed = asyncio.Event()
        self._clock = clock
        self._policy = policy
        self._event = event

    def restore(self) -> bool:
        """Read what an earlier agent recorded of the pod; its attempts are in their bundles. False when it never came to a
        sandbox."""
        record, reported = self.checkpoint.load_sandbox(), self.checkpoint.load_status()
        self.observed.eviction = self.checkpoint.load_eviction()
        self.observed.resizing = self.observed.limits_due = self.checkpoint.resizing.exists()
        if reported is not None and reported.HasField("startTime"):
            self.observed.started_at = float(reported.startTime.seconds)
        if record is None or not {"started_at", "released", "address"} <= record.keys():
            return False
        self.observed.started_at, self.observed.released = record["started_at"], record["released"]
        # An agent of an earlier release knew one address, and reads this one's records too.
        self.observed.addresses = tuple(record.get("addresses") or filter(None, [record["address"]]))
        self.observed.epoch, self.observed.finished = record.get("epoch", 0), frozenset(record.get("finished", ()))
        self.handler = record.get("handler", NATIVE)
        return True

    # The pod

    def volumes_made(self) -> None:
        self.observed.volumes = True
        self.succeeded("")

    def addresses_given(self, addresses: tuple[str, ...]) -> None:
        """Recorded before the network is attached: another agent must not give them away. Raises OSError."""
        self.observed.addresses = addresses
        self._save_sandbox()

    def sandbox_begun(self, handler: str) -> None:
        """From here on something of it may be there. Raises OSError."""
        self.handler = handler
        self.checkpoint.sandbox_made.unlink(missing_ok=True)

    def sandbox_made(self) -> None:
        """Raises OSError."""
        self.checkpoint.sandbox_made.touch()
        self.observed.sandbox = True
        self.succeeded("")

    def sandbox_lost(self) -> None:
        """Something of it is missing; it is made again before anything else starts."""
        self.observed.sandbox = False

    def released(self) -> None:
        """Network, cgroup and volumes are given back. Unrecorded, they are given back once more by another agent."""
        self.observed.released = True
        with contextlib.suppress(OSError):
            self._save_sandbox()

    def all_restarted(self) -> None:
        """All containers begin anew (restart rules). Unrecorded, another agent learns it from the first container that was
        started since, or restarts all once more."""
        self.observed.epoch += 1
        self.observed.finished = frozenset()
        with contextlib.suppress(OSError):
            self._save_sandbox()

    def sandbox_found(self) -> None:
        """An earlier agent made it, and nothing of it is missing."""
        self.observed.sandbox = True

    def held(self, until: float | None) -> None:
        """The sandbox is not to be made before `until`, None for no such bound."""
        self.observed.held_until = until
        self.changed.set()

    def leaves_at(self, deadline: float) -> None:
        """The pod is deleted, and has until `deadline` by this node's clock."""
        self.observed.leaves_at = deadline
        self.changed.set()

    def evicted(self, eviction: Eviction, message: str) -> None:
        """The node ends the pod; `message` is for the event."""
        self.observed.eviction = eviction
        self.checkpoint.save_eviction(eviction)
        self._event(eviction.reason, message, True)
        self.changed.set()

    def _save_sandbox(self) -> None:
        self.checkpoint.save_sandbox(self.observed, self.handler)

    # Steps that fail

    def failed(self, name: str, reason: str, message: str, *, at_once: int = 0) -> None:
        """A step failed, of a container or of the pod (""); the first `at_once` failures in a row are repeated without delay.
        Each has its event."""
        before = self.observed.step_failures.get(name)
        failures = before.failures + 1 if before is not None and before.reason == reason else 1
        delay = min(RETRY * 2.0 ** min(failures - at_once - 1, 20), self._policy.max_backoff) if failures > at_once else 0.0
        self.observed.step_failures[name] = StepFailure(reason, message, self._clock.now() + delay, failures)
        self._event(_EVENT_REASONS.get(reason, reason), message, True)

    def waits(self, name: str, failure: StepFailure) -> None:
        """A step waits for something; the caller has recorded the event."""
        self.observed.step_failures[name] = failure

    def succeeded(self, name: str) -> None:
        self.observed.step_failures.pop(name, None)

    def retry_now(self, name: str | None = None) -> None:
        """End the back-off of a failed step, or of all: what it waited for may have arrived."""
        for key, failure in self.observed.step_failures.items():
            if name in (None, key):
                self.observed.step_failures[key] = replace(failure, retry_at=0.0)
        self.changed.set()

    # Resources

    def allocated(self, pod: Any) -> None:
        """The pod has other resources from now on. Recorded before they are put into force. Raises OSError."""
        self.checkpoint.save_allocation(pod)
        self.observed.resizing = self.observed.limits_due = True
        self.observed.resize_pending = None
        self.succeeded(RESIZE)
        self.changed.set()

    def resize_pending(self, pending: PendingResize | None) -> None:
        """The node has not allocated what is wanted, or nothing else is wanted any more."""
        self.observed.resize_pending = pending
        self.changed.set()

    def resize_failed(self, message: str) -> bool:
        """What is allocated could not be put into force. Returns whether that is new."""
        before = self.observed.step_failures.get(RESIZE)
        failures = before.failures + 1 if before is not None else 1
        delay = min(RETRY * 2.0 ** (failures - 1), RESIZE_RETRY)
        self.observed.step_failures[RESIZE] = StepFailure(ERROR, message, self._clock.now() + delay, failures)
        return before is None

    def limits_set(self, attempts: Iterable[tuple[Attempt, str]]) -> None:
        """The pod's cgroup has the allocated limits, and these attempts the resources of the text. Unrecorded, another agent
        sets them again."""
        self.observed.limits_due = False
        self.succeeded(RESIZE)
        for attempt, text in attempts:
            self._put(replace(self._present(attempt), resources=text))

    def _present(self, attempt: Attempt) -> Attempt:
        """An attempt as it is now: it may have ended meanwhile."""
        found = (item for item in self.observed.attempts[attempt.name] if item.number == attempt.number)
        return next(found, attempt)

    def resize_finished(self) -> None:
        self.observed.resizing = False
        with contextlib.suppress(OSError):
            self.checkpoint.resizing.unlink(missing_ok=True)

    # Containers

    def starting(self, attempt: Attempt) -> None:
        """Before the runtime is asked. Raises OSError."""
        self.checkpoint.save_attempt(attempt)

    def started(self, attempt: Attempt) -> list[Attempt]:
        """An attempt runs, or was found on disk. Returns those that are no longer kept."""
        self.succeeded(attempt.name)
        self.observed.epoch = max(self.observed.epoch, attempt.epoch)
        kept = (*self.observed.attempts.get(attempt.name, ()), attempt)
        self.observed.attempts[attempt.name] = kept[-KEPT:]
        return list(kept[:-KEPT])

    def start_failed(self, attempt: Attempt) -> list[Attempt]:
        """An attempt that ended before it ran. Returns those that are no longer kept."""
        with contextlib.suppress(OSError):
            self.checkpoint.save_attempt(attempt)
        self.observed.lifecycles[attempt.name] = LifecycleState()
        return self.started(attempt)

    def ended(self, attempt: Attempt) -> None:
        """An attempt that ran has ended."""
        self._put(attempt)

    def _put(self, attempt: Attempt) -> None:
        """More is known of an attempt."""
        name = attempt.name
        self.observed.attempts[name] = tuple(
            attempt if item.number == attempt.number else item for item in self.observed.attempts[name]
        )
        with contextlib.suppress(OSError):
            self.checkpoint.save_attempt(attempt)

    def lifecycle_begins(self, name: str, lifecycle: LifecycleState | None = None) -> None:
        """Of an attempt that has started, or of one that was found, as it was recorded."""
        self.observed.lifecycles[name] = lifecycle or LifecycleState()

    def lifecycle_changed(self, name: str, **fields: Any) -> None:
        """Recorded before `steps` sees it, so that another agent repeats no hook that has ended."""
        before, last = self.observed.lifecycle(name), self.observed.last(name)
        lifecycle = self.observed.change(name, **fields)
        if lifecycle != before and last is not None:
            self.checkpoint.save_lifecycle(name, last.number, lifecycle)
            self.changed.set()
