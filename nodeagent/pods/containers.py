"""The containers of one pod: started from an image and a bundle, followed to their end, forgotten when they are old."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from nodeagent import trees
from nodeagent.images.store import Image
from nodeagent.pods import bundle as bundles
from nodeagent.pods import lastwords, restarts, stopsignal
from nodeagent.pods.environment import ConfigError
from nodeagent.pods.hosted import HostedPod
from nodeagent.pods.images import VOLUME, PodImages
from nodeagent.pods.journal import load
from nodeagent.pods.lives import Lives
from nodeagent.pods.model import Attempt, Life, Problem
from nodeagent.pods.steps import Start
from nodeagent.runtime.native.runtime import discard
from nodeagent.runtime.seam import Exit, Handle, RuntimeLost, StartError
from nodeagent.runtime.seccomp import SeccompUnavailable

# Attempts of a container whose bundles and logs are kept: the present one and `kctl logs --previous`.
KEPT = 2


class Containers:
    def __init__(self, hosted: HostedPod, *, whole: Callable[[], bool]) -> None:
        """`whole` says whether nothing of the pod's sandbox is missing."""
        self._hosted = hosted
        self._whole = whole
        self.lives = Lives(hosted)
        self._waits: dict[str, asyncio.Task[None]] = {}
        self.images = PodImages(
            hosted.s.puller, hosted.s.clock, policy=hosted.s.policy, wake=self._pulled,
            event=lambda reason, message, warning: hosted.event(reason, message, warning=warning),
        )  # fmt: skip

    def close(self) -> None:
        """Stop watching. The containers go on."""
        self.lives.close()
        self.images.close()
        for task in self._waits.values():
            task.cancel()

    # Starting

    async def start(self, step: Start) -> None:
        """One attempt to start a container. Books what fails."""
        hosted = self._hosted
        container = hosted.container(step.name)
        image = self._image(container)
        if image is None:
            return
        bundle = hosted.journal.bundle(step.name, step.number)
        attempt = Attempt(
            step.name, step.number, container.image, image.pinned, step.streak, stopsignal.of(container, image.config)
        )
        try:
            # Left by an agent that was killed before the runtime was asked; or by a monitor that was, before it had written
            # down what it had started.
            hosted.s.cgroups.kill(self._cgroup(step.name, step.number))
            await asyncio.to_thread(discard, bundle)
            self._write_bundle(bundle, container, image)
            hosted.journal.save_attempt(attempt)
        except (ConfigError, SeccompUnavailable, OSError) as error:
            hosted.fail(step.name, getattr(error, "reason", "CreateContainerConfigError"), str(error))
            await asyncio.to_thread(discard, bundle)
            return
        await self._launch(bundle, attempt)

    async def _launch(self, bundle: Path, attempt: Attempt) -> None:
        hosted = self._hosted
        try:
            handle = await hosted.runtime.start(bundle)
        except (RuntimeLost, OSError) as error:
            # No run of the container: it does not count for its policy, and the same attempt is made again.
            hosted.fail(attempt.name, "RunContainerError", str(error))
            await asyncio.to_thread(discard, bundle)
            return
        except StartError as error:
            if self._whole():
                self._note_start_error(attempt, str(error))
                return
            # Its reaper was killed, say. No fault of the container: the sandbox is completed, then it is tried again.
            hosted.seen.sandbox = False
            hosted.fail(attempt.name, "RunContainerError", str(error), at_once=1)
            await asyncio.to_thread(discard, bundle)
            return
        hosted.seen.problems.pop(attempt.name, None)
        hosted.event("Started", f"Started container {attempt.name}")
        self._append(replace(attempt, started_at=handle.started_at))
        self.lives.begin(attempt.name, handle)
        self._follow(handle, attempt.name)

    def _image(self, container: Any) -> Image | None:
        """The image, or None while it is on its way or cannot be had: the problem says which."""
        hosted, policy = self._hosted, container.imagePullPolicy
        found = self.images.get(container.name, container.image, policy=policy, pod=hosted.pod, lookup=hosted.lookup)
        if isinstance(found, Problem):
            hosted.seen.problems[container.name] = found
            return None
        return found

    def volume_layers(self) -> dict[str, tuple[str, ...]] | Problem:
        """The layers of image volumes that are still to be mounted, or why they are not here yet."""
        hosted = self._hosted
        found = self.images.for_volumes(hosted.mounter.missing_images(hosted.pod), pod=hosted.pod, lookup=hosted.lookup)
        return found if isinstance(found, Problem) else {name: hosted.s.images.lower_dirs(i) for name, i in found.items()}

    def _pulled(self, name: str) -> None:
        """The pull of the image of a container or volume has ended."""
        name = "" if name.startswith(VOLUME) else name
        if name in self._hosted.seen.problems:
            self._hosted.seen.problems[name] = replace(self._hosted.seen.problems[name], retry_at=0.0)
        self._hosted.changed.set()

    def _write_bundle(self, bundle: Path, container: Any, image: Image) -> None:
        hosted = self._hosted
        place = bundles.Place(
            hosted.folder,
            hosted.logs,
            hosted.volumes,
            hosted.facts(),
            hosted.cgroup,
            self._target(container.name),
            hosted.ids(),
        )
        skipped = bundles.write(
            bundle, hosted.pod, container, image, place, images=hosted.s.images, cgroups=hosted.s.cgroups,
            lookup=hosted.lookup, seccomp_folder=hosted.s.state / "seccomp",
            log=hosted.log_of(container.name, int(bundle.name)), rotation=hosted.s.rotation,
        )  # fmt: skip
        for text in skipped:
            hosted.event("InvalidEnvironmentVariableNames", text, warning=True)

    def _target(self, name: str) -> tuple[int, int]:
        """The process that an ephemeral container wants to be beside. Raises ConfigError while it does not run."""
        wanted = next((e.targetContainerName for e in self._hosted.pod.spec.ephemeralContainers if _name(e) == name), "")
        if not wanted:
            return 0, 0
        handle = self.lives.handles.get(wanted)
        if handle is None:
            raise ConfigError(f'target container "{wanted}" is not running')
        return handle.pid, handle.pid_start

    def _note_start_error(self, attempt: Attempt, text: str) -> None:
        """A start that failed counts as a run that ended at once, with the code that shells give."""
        hosted = self._hosted
        code = 127 if "not found" in text or "no such file" in text else 128
        ended = replace(attempt, finished_at=hosted.s.clock.now(), code=code, start_error=text)
        with contextlib.suppress(OSError):
            hosted.journal.save_attempt(ended)
        hosted.seen.problems.pop(attempt.name, None)
        hosted.seen.lives[attempt.name] = Life()
        hosted.event("Failed", f"Error: failed to start container {attempt.name}: {text}", warning=True)
        self._append(ended)

    def _append(self, attempt: Attempt) -> None:
        seen = self._hosted.seen
        kept = (*seen.attempts.get(attempt.name, ()), attempt)
        seen.attempts[attempt.name] = kept[-KEPT:]
        for old in kept[:-KEPT]:
            self._forget(old)

    def _forget(self, attempt: Attempt) -> None:
        hosted = self._hosted
        discard(hosted.journal.bundle(attempt.name, attempt.number))
        for path in hosted.logs.glob(f"{attempt.name}/{attempt.number}.log*"):
            path.unlink(missing_ok=True)
        hosted.s.cgroups.remove(self._cgroup(attempt.name, attempt.number))

    def _cgroup(self, name: str, number: int) -> str:
        return f"{self._hosted.cgroup}/{name}-{number}"

    # Ending

    def _follow(self, handle: Handle, name: str) -> None:
        self._waits[name] = asyncio.ensure_future(self._await_end(handle, name))
        self._hosted.mind(self._waits[name])

    async def _await_end(self, handle: Handle, name: str) -> None:
        hosted = self._hosted
        exit_ = await hosted.runtime.wait(handle)
        # Whatever the container left behind in its cgroup ends with it.
        path = self._cgroup(name, int(handle.bundle.name))
        hosted.s.cgroups.kill(path)
        self.lives.end(name)
        self._note_end(name, int(handle.bundle.name), exit_)
        hosted.s.cgroups.remove(path)
        # In a thread: it may have left a million files. Before the worker looks, whose teardown would delete them too.
        await asyncio.to_thread(_clean, handle.bundle)
        hosted.changed.set()

    def _note_end(self, name: str, number: int, exit_: Exit) -> None:
        hosted = self._hosted
        bundle = hosted.journal.bundle(name, number)
        hosted.seen.attempts[name] = tuple(
            _ended(attempt, exit_, self._message(bundle, name, exit_)) if attempt.number == number else attempt
            for attempt in hosted.seen.attempts[name]
        )
        with contextlib.suppress(OSError):
            hosted.journal.save_attempt(hosted.seen.attempts[name][-1])
        self._say_back_off(name, exit_)

    def _say_back_off(self, name: str, exit_: Exit) -> None:
        hosted = self._hosted
        stopped = hosted.seen.life(name).stopping is not None
        if exit_.code and not stopped and restarts.restarts(hosted.pod, hosted.container(name), hosted.seen.last(name)):
            text = f"Back-off restarting failed container {name} in pod {hosted.pod.metadata.name}"
            hosted.event("BackOff", text, warning=True)

    def _message(self, bundle: Path, name: str, exit_: Exit) -> str:
        policy = self._hosted.container(name).terminationMessagePolicy
        fall_back = bool(exit_.code) and policy == "FallbackToLogsOnError"
        return lastwords.read(bundle, self._hosted.log_of(name, int(bundle.name)), fall_back=fall_back) or exit_.message

    # After a restart of the agent

    async def recover(self) -> None:
        """Take up every attempt that is on disk."""
        for bundle in self._hosted.journal.bundles():
            await self._recover(bundle)

    async def _recover(self, bundle: Path) -> None:
        attempt = self._hosted.journal.load_attempt(bundle)
        if attempt is None:
            discard(bundle)
            return
        life = self._hosted.journal.load_life(bundle)
        if attempt.finished_at is not None:
            self._append(attempt)
            self._hosted.seen.lives[attempt.name] = life
            return
        # In a thread: a start may be under way.
        found = await asyncio.to_thread(self._hosted.runtime.recover, bundle)
        if found is None:
            discard(bundle)
            return
        state = load(bundle / "state.json") or {}
        self._append(replace(attempt, started_at=state.get("started_at")))
        if isinstance(found, Handle):
            self.lives.resume(attempt.name, found, life)
            self._follow(found, attempt.name)
            return
        self._hosted.seen.lives[attempt.name] = life
        self._note_end(attempt.name, attempt.number, found)
        _clean(bundle)


def _name(item: Any) -> str:
    return str(item.ephemeralContainerCommon.name)


def _clean(bundle: Path) -> None:
    """The writable layer of a container that has ended is of no use any more; what logs and status need stays."""
    for part in ("upper", "work"):
        with contextlib.suppress(OSError):
            trees.remove(bundle / part)


def _ended(attempt: Attempt, exit_: Exit, message: str) -> Attempt:
    return replace(
        attempt, finished_at=exit_.finished_at, code=exit_.code, signal=exit_.signal, oom_killed=exit_.oom_killed,
        message=message,
    )  # fmt: skip
