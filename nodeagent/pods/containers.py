"""The containers of one pod: started from an image and a bundle, followed to their end, forgotten when they are old."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from nodeagent.images.store import Image
from nodeagent.launcher import bundle as names
from nodeagent.pods import resize, restarts, terminationmessage
from nodeagent.pods.checkpoint import load
from nodeagent.pods.context import PodContext
from nodeagent.pods.images import VOLUME, PodImages
from nodeagent.pods.lifecycle import LifecycleManager
from nodeagent.pods.model import Attempt, StepFailure
from nodeagent.pods.spec import container as bundles
from nodeagent.pods.spec import stopsignal
from nodeagent.pods.spec.environment import ConfigError
from nodeagent.pods.steps import Start
from nodeagent.runtime.bundles import move_to_memory
from nodeagent.runtime.interface import Exit, Handle, RuntimeLost, StartError
from nodeagent.runtime.seccomp import SeccompUnavailable
from pinnace import labclock

# Seconds between looks whether files of earlier attempts are gone.
LOOK = 1.0


class Containers:
    def __init__(self, pod_ctx: PodContext, *, whole: Callable[[], bool]) -> None:
        """`whole` says whether nothing of the pod's sandbox is missing."""
        self._pod_ctx = pod_ctx
        self._whole = whole
        self.lifecycles = LifecycleManager(pod_ctx)
        self._waits: dict[str, asyncio.Task[None]] = {}
        self.images = PodImages(
            pod_ctx.deps.puller, pod_ctx.deps.clock, policy=pod_ctx.deps.policy, wake=self._pulled,
            event=lambda reason, message, warning: pod_ctx.event(reason, message, warning=warning),
        )  # fmt: skip

    def close(self) -> None:
        """Stop watching. The containers go on."""
        self.lifecycles.close()
        self.images.close()
        for task in self._waits.values():
            task.cancel()

    # Starting

    async def start(self, step: Start) -> None:
        """One attempt to start a container. Books what fails."""
        pod_ctx = self._pod_ctx
        container = pod_ctx.container(step.name)
        image = self._image(container)
        if image is None or self._held(step):
            return
        bundle = pod_ctx.state.checkpoint.bundle(step.name, step.number)
        attempt = Attempt(
            step.name, step.number, container.image, image.pinned, step.streak, stopsignal.of(container, image.config),
            epoch=pod_ctx.observed.epoch, resources=resize.text_of(container),
        )  # fmt: skip
        try:
            # Left by an agent that was killed before the runtime was asked; or by a monitor that was, before it had written
            # down what it had started.
            pod_ctx.deps.cgroups.kill(self._cgroup(step.name, step.number))
            pod_ctx.leftovers.put_aside(bundle)
            self._write_bundle(bundle, container, image)
            pod_ctx.state.starting(attempt)
        except (ConfigError, SeccompUnavailable, OSError) as error:
            pod_ctx.state.failed(step.name, getattr(error, "reason", "CreateContainerConfigError"), str(error))
            self._put_aside(bundle)
            return
        await self._launch(bundle, attempt)

    async def _launch(self, bundle: Path, attempt: Attempt) -> None:
        pod_ctx = self._pod_ctx
        try:
            handle = await pod_ctx.runtime.start(bundle)
        except (RuntimeLost, OSError) as error:
            # No run of the container: it does not count for its policy, and the same attempt is made again.
            pod_ctx.state.failed(attempt.name, "RunContainerError", str(error))
            self._put_aside(bundle)
            return
        except StartError as error:
            if self._whole():
                self._note_start_error(attempt, str(error))
                return
            # Its reaper was killed, say. No fault of the container: the sandbox is completed, then it is tried again.
            pod_ctx.state.sandbox_lost()
            pod_ctx.state.failed(attempt.name, "RunContainerError", str(error), at_once=1)
            self._put_aside(bundle)
            return
        pod_ctx.event("Started", f"Started container {attempt.name}")
        self._delete(pod_ctx.state.started(replace(attempt, started_at=handle.started_at)))
        self.lifecycles.begin(attempt.name, handle)
        self._follow(handle, attempt.name)

    def _held(self, step: Start) -> bool:
        """Whether files of attempts before the last are still being deleted: a container that fills the disk again and again
        has no more of it than the attempts that are kept, which count against its limits."""
        if not any(number < step.number - 1 for number in self._pod_ctx.leftovers.pending(step.name)):
            return False
        text = "files of earlier attempts are being deleted"
        self._pod_ctx.state.waits(step.name, StepFailure("ContainerCreating", text, self._pod_ctx.deps.clock.now() + LOOK, 0))
        return True

    def _image(self, container: Any) -> Image | None:
        """The image, or None while it is on its way or cannot be had: the problem says which."""
        pod_ctx, policy = self._pod_ctx, container.imagePullPolicy
        found = self.images.get(container.name, container.image, policy=policy, pod=pod_ctx.pod, lookup=pod_ctx.lookup)
        if isinstance(found, StepFailure):
            pod_ctx.state.waits(container.name, found)
            return None
        return found

    def volume_layers(self) -> dict[str, tuple[str, ...]] | StepFailure:
        """The layers of image volumes that are still to be mounted, or why they are not here yet."""
        pod_ctx = self._pod_ctx
        found = self.images.for_volumes(pod_ctx.mounter.missing_images(pod_ctx.pod), pod=pod_ctx.pod, lookup=pod_ctx.lookup)
        return (
            found if isinstance(found, StepFailure) else {name: pod_ctx.deps.images.lower_dirs(i) for name, i in found.items()}
        )

    def _pulled(self, name: str) -> None:
        """The pull of the image of a container or volume has ended."""
        self._pod_ctx.state.retry_now("" if name.startswith(VOLUME) else name)

    def _write_bundle(self, bundle: Path, container: Any, image: Image) -> None:
        pod_ctx = self._pod_ctx
        place = bundles.Place(
            pod_ctx.folder,
            pod_ctx.logs,
            pod_ctx.volumes,
            pod_ctx.facts(),
            pod_ctx.cgroup,
            self._target(container.name),
            pod_ctx.ids(),
            pod_ctx.memory,
            pod_ctx.services(),
        )
        skipped = bundles.write(
            bundle, pod_ctx.pod, container, image, place, images=pod_ctx.deps.images, cgroups=pod_ctx.deps.cgroups,
            lookup=pod_ctx.lookup, seccomp_folder=pod_ctx.deps.state / "seccomp",
            mount_points=pod_ctx.deps.state / "mountpoints",
            log=pod_ctx.log_of(container.name, int(bundle.name)), rotation=pod_ctx.deps.rotation,
        )  # fmt: skip
        for text in skipped:
            pod_ctx.event("InvalidEnvironmentVariableNames", text, warning=True)

    def _target(self, name: str) -> tuple[int, int]:
        """The process that an ephemeral container wants to be beside. Raises ConfigError while it does not run."""
        wanted = next((e.targetContainerName for e in self._pod_ctx.pod.spec.ephemeralContainers if _name(e) == name), "")
        if not wanted:
            return 0, 0
        handle = self.lifecycles.handles.get(wanted)
        if handle is None:
            raise ConfigError(f'target container "{wanted}" is not running')
        return handle.pid, handle.pid_start

    def _note_start_error(self, attempt: Attempt, text: str) -> None:
        """A start that failed counts as a run that ended at once, with the code that shells give."""
        pod_ctx = self._pod_ctx
        code = 127 if "not found" in text or "no such file" in text else 128
        ended = replace(attempt, finished_at=pod_ctx.deps.clock.now(), code=code, start_error=text)
        pod_ctx.event("Failed", f"Error: failed to start container {attempt.name}: {text}", warning=True)
        self._delete(pod_ctx.state.start_failed(ended))

    def _delete(self, attempts: list[Attempt]) -> None:
        """What is no longer kept: bundles, logs and cgroups."""
        pod_ctx = self._pod_ctx
        for attempt in attempts:
            logs = list(pod_ctx.logs.glob(f"{attempt.name}/{attempt.number}.log*"))
            pod_ctx.leftovers.discard(pod_ctx.state.checkpoint.bundle(attempt.name, attempt.number), logs)
            pod_ctx.deps.cgroups.remove(self._cgroup(attempt.name, attempt.number))

    def _put_aside(self, bundle: Path) -> None:
        """Best effort: the next start of the attempt does it first."""
        with contextlib.suppress(OSError):
            self._pod_ctx.leftovers.put_aside(bundle)

    def _cgroup(self, name: str, number: int) -> str:
        return f"{self._pod_ctx.cgroup}/{name}-{number}"

    # Ending

    def _follow(self, handle: Handle, name: str) -> None:
        self._waits[name] = asyncio.ensure_future(self._await_end(handle, name))
        self._pod_ctx.mind(self._waits[name])

    async def _await_end(self, handle: Handle, name: str) -> None:
        pod_ctx = self._pod_ctx
        exit_ = await pod_ctx.runtime.wait(handle)
        # Whatever the container left behind in its cgroup ends with it.
        path = self._cgroup(name, int(handle.bundle.name))
        pod_ctx.deps.cgroups.kill(path)
        self.lifecycles.end(name)
        self._note_end(name, int(handle.bundle.name), exit_)
        pod_ctx.deps.cgroups.remove(path)
        # Next to the loop: it may have left a million files. Before the worker looks, whose teardown waits for it.
        pod_ctx.leftovers.clean(handle.bundle)
        pod_ctx.state.changed.set()

    def _note_end(self, name: str, number: int, exit_: Exit) -> None:
        pod_ctx = self._pod_ctx
        bundle = pod_ctx.state.checkpoint.bundle(name, number)
        attempt = next(item for item in pod_ctx.observed.attempts[name] if item.number == number)
        pod_ctx.state.ended(_ended(attempt, exit_, self._message(bundle, name, exit_)))
        self._say_back_off(name, exit_)

    def _say_back_off(self, name: str, exit_: Exit) -> None:
        pod_ctx = self._pod_ctx
        stopped = pod_ctx.observed.lifecycle(name).stopping is not None
        if exit_.code and not stopped and restarts.restarts(pod_ctx.pod, pod_ctx.container(name), pod_ctx.observed.last(name)):
            text = f"Back-off restarting failed container {name} in pod {pod_ctx.pod.metadata.name}"
            pod_ctx.event("BackOff", text, warning=True)

    def _message(self, bundle: Path, name: str, exit_: Exit) -> str:
        policy = self._pod_ctx.container(name).terminationMessagePolicy
        fall_back = bool(exit_.code) and policy == "FallbackToLogsOnError"
        return (
            terminationmessage.read(bundle, self._pod_ctx.log_of(name, int(bundle.name)), fall_back=fall_back) or exit_.message
        )

    # After a restart of the agent

    async def recover(self) -> None:
        """Take up every attempt that is on disk, and every deletion that was under way."""
        self._pod_ctx.leftovers.resume(self._pod_ctx.folder / "containers")
        for bundle in self._pod_ctx.state.checkpoint.bundles():
            await self._recover(bundle)

    async def _recover(self, bundle: Path) -> None:
        attempt = self._pod_ctx.state.checkpoint.load_attempt(bundle)
        if attempt is None:
            self._put_aside(bundle)
            return
        lifecycle = self._pod_ctx.state.checkpoint.load_lifecycle(bundle)
        if attempt.finished_at is not None:
            if Path(names.upper(bundle)).exists():
                self._pod_ctx.leftovers.clean(bundle)
            self._delete(self._pod_ctx.state.started(attempt))
            self._pod_ctx.state.lifecycle_begins(attempt.name, lifecycle)
            return
        # In a thread: a start may be under way.
        found = await self._pod_ctx.deps.pools.bundles.run(self._pod_ctx.runtime.recover, bundle)
        if found is None:
            self._put_aside(bundle)
            return
        noted = (load(bundle / "state.json") or {}).get("started_at")
        started_at = None if noted is None else labclock.converted(self._pod_ctx.deps.clock, noted)
        self._delete(self._pod_ctx.state.started(replace(attempt, started_at=started_at)))
        if isinstance(found, Handle):
            with contextlib.suppress(OSError):
                move_to_memory(bundle, self._pod_ctx.memory)
            self.lifecycles.resume(attempt.name, found, lifecycle)
            self._follow(found, attempt.name)
            return
        self._pod_ctx.state.lifecycle_begins(attempt.name, lifecycle)
        self._note_end(attempt.name, attempt.number, found)
        self._pod_ctx.leftovers.clean(bundle)


def _name(item: Any) -> str:
    return str(item.ephemeralContainerCommon.name)


def _ended(attempt: Attempt, exit_: Exit, message: str) -> Attempt:
    return replace(
        attempt, finished_at=exit_.finished_at, code=exit_.code, signal=exit_.signal, oom_killed=exit_.oom_killed,
        message=message,
    )  # fmt: skip
