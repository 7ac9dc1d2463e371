"""The images of one pod's containers: each pulled outside of the worker's loop, so that no pull delays another container.

The worker asks again and again; what it gets is the image, or the problem to show meanwhile. Reasons, messages and the
back-off are kubelet's: 10 s, doubling to five minutes, for each image and set of credentials: with a corrected secret the
next try is at once.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nodeagent.images.puller import Puller, PullError, present
from nodeagent.images.registry.credentials import BadSecret, Credential, parse_pull_secret
from nodeagent.images.store import Image
from nodeagent.pods.model import Policy, StepFailure
from pinnace.clock import Clock

# Seconds that a failure is shown as itself, before it is shown as a back-off.
SHOWN = 2.0
# Seconds after which a worker looks at a pull that has not said anything; its end wakes the worker at once.
LOOK = 3600.0
# Before the name of a volume whose image is pulled; no container is called so.
VOLUME = "volume/"
Event = Callable[[str, str, bool], None]
# Finds a Secret of the pod's namespace by kind and name.
Lookup = Callable[[str, str], Any | None]


@dataclass(slots=True)
class _Pull:
    """`key` is what was asked for: the image and the credentials."""

    key: tuple[Any, ...]
    task: asyncio.Task[Image]


@dataclass(frozen=True, slots=True)
class _Failure:
    key: tuple[Any, ...]
    error: PullError
    count: int
    retry_at: float


class PodImages:
    """`event` books an event of the pod; `wake` makes the worker look at the container of that name again."""

    def __init__(self, puller: Puller, clock: Clock, *, policy: Policy, event: Event, wake: Callable[[str], None]) -> None:
        self._puller = puller
        self._clock = clock
        self._policy = policy
        self._event = event
        self._wake = wake
        self._pulls: dict[str, _Pull] = {}
        self._failures: dict[str, _Failure] = {}

    def get(self, name: str, reference: str, *, policy: str, pod: Any, lookup: Lookup) -> Image | StepFailure:
        """The image of the container of that name, or why it is not here yet."""
        outcome = self._finished(name, reference)
        if isinstance(outcome, Image):
            return outcome
        if (image := self._puller.local(reference, policy)) is not None:
            self._drop(name)
            self._event("Pulled", present(reference), False)
            return image
        if outcome is not None:
            return outcome
        credentials = self._credentials(pod, lookup)
        key = (reference, policy, credentials)
        failure = self._failures.get(name)
        if failure is not None and failure.key == key and failure.retry_at > self._clock.now():
            return self._backing_off(reference, failure)
        self._begin(name, key, credentials)
        look = self._clock.now() + LOOK
        if failure is not None:
            return StepFailure(failure.error.reason, failure.error.message, look, failures=0)
        return StepFailure("ContainerCreating", "", look, failures=0)

    def for_volumes(self, sources: Mapping[str, Any], *, pod: Any, lookup: Lookup) -> dict[str, Image] | StepFailure:
        """The images of volumes (reference and pullPolicy by volume), all pulled at once, or why one is not here yet."""
        images: dict[str, Image] = {}
        failure: StepFailure | None = None
        for name, source in sources.items():
            found = self.get(VOLUME + name, source.reference, policy=source.pullPolicy, pod=pod, lookup=lookup)
            if isinstance(found, StepFailure):
                failure = failure or found
            else:
                images[name] = found
        return failure or images

    def _finished(self, name: str, reference: str) -> Image | StepFailure | None:
        """The outcome of a pull that has ended; a failure is booked."""
        pull = self._pulls.get(name)
        if pull is None or not pull.task.done():
            return None
        del self._pulls[name]
        error = None if pull.task.cancelled() else pull.task.exception()
        if pull.task.cancelled() or pull.key[0] != reference:
            return None
        if error is None:
            self._failures.pop(name, None)
            return pull.task.result()
        if not isinstance(error, PullError):
            raise error
        return self._failed(name, pull.key, error)

    def _failed(self, name: str, key: tuple[Any, ...], error: PullError) -> StepFailure:
        before = self._failures.get(name)
        count = before.count + 1 if before is not None and before.key == key else 1
        now, delay = self._clock.now(), self._policy.delay(count)
        self._failures[name] = _Failure(key, error, count, now + delay)
        if error.reason == "ErrImageNeverPull":
            self._event(error.reason, error.message, True)
        elif error.reason == "InvalidImageName":
            self._event("InspectFailed", error.message, True)
        else:
            self._event("Failed", f'Failed to pull image "{key[0]}": {error.message}', True)
        self._event("Failed", f"Error: {error.reason}", True)
        return StepFailure(error.reason, error.message, now + min(SHOWN, delay / 2), count)

    def _backing_off(self, reference: str, failure: _Failure) -> StepFailure:
        error = failure.error
        if error.reason in ("ErrImageNeverPull", "InvalidImageName"):
            return StepFailure(error.reason, error.message, failure.retry_at, failure.count)
        text = f'Back-off pulling image "{reference}"'
        self._event("BackOff", text, False)
        return StepFailure("ImagePullBackOff", f"{text}: {error.reason}: {error.message}", failure.retry_at, failure.count)

    def _begin(self, name: str, key: tuple[Any, ...], credentials: Sequence[Credential]) -> None:
        pull = self._pulls.get(name)
        if pull is not None and pull.key == key:
            return
        self._drop(name)
        task = asyncio.ensure_future(self._puller.ensure(key[0], key[1], credentials, self._say))
        self._pulls[name] = _Pull(key, task)
        task.add_done_callback(functools.partial(self._ended, name))

    def _say(self, reason: str, message: str) -> None:
        self._event(reason, message, False)

    def _ended(self, name: str, task: asyncio.Task[Image]) -> None:
        if not task.cancelled():
            self._wake(name)

    def _drop(self, name: str) -> None:
        pull = self._pulls.pop(name, None)
        if pull is not None:
            pull.task.cancel()

    def _credentials(self, pod: Any, lookup: Lookup) -> tuple[Credential, ...]:
        """Of every pull secret that can be read; as kubelet, one that cannot be is an event and not the end."""
        found: list[Credential] = []
        for item in pod.spec.imagePullSecrets:
            secret = lookup("Secret", item.name)
            try:
                if secret is None:
                    raise BadSecret(f'secret "{item.name}" not found')
                found += parse_pull_secret(secret)
            except BadSecret as error:
                text = f"Unable to retrieve some image pull secrets; attempting to pull the image may not succeed: {error}"
                self._event("FailedToRetrieveImagePullSecret", text, True)
        return tuple(found)

    def close(self) -> None:
        """Give up every pull; what came stays on the node."""
        for name in list(self._pulls):
            self._drop(name)
