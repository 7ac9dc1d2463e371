"""One pod's worker: asks `steps` what to do, does it, and reports; one task for each pod.

Everything it must remember is on disk before it matters: the sandbox's address, each attempt's bundle, and what the
runtime writes there. A new worker over the same folder takes up where the last one stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nodeagent.images.puller import Puller
from nodeagent.images.store import Image, ImageStore
from nodeagent.network.ipam import Ipam
from nodeagent.network.seam import Network, NetworkError
from nodeagent.pods import bundle as bundles
from nodeagent.pods import status as statuses
from nodeagent.pods import steps
from nodeagent.pods.environment import ConfigError
from nodeagent.pods.images import PodImages
from nodeagent.pods.model import Attempt, Policy, Problem, Seen, Stopping
from nodeagent.runtime.cgroups import Cgroups, Limits
from nodeagent.runtime.native.runtime import discard, open_process
from nodeagent.runtime.seam import Exit, Handle, Runtime, RuntimeLost, SandboxConfig, StartError
from nodeagent.runtime.seccomp import SeccompUnavailable
from nodeagent.volumes import manager as volumes
from nodeagent.volumes.manager import VolumeError
from pinnace import pki
from pinnace.clock import Clock

log = logging.getLogger("pinnace.pods")
# Attempts of a container whose bundles and logs are kept: the present one and `kctl logs --previous`.
KEPT = 2
# Seconds before a failed step (sandbox, volume, image, configuration) is tried again, doubling up to the policy's bound.
RETRY = 2.0
TEARDOWN_TRIES = 50

EventSink = Callable[[Any, str, str, bool], None]
Report = Callable[[Any, Any, bool], None]


@dataclass(frozen=True, slots=True)
class Services:
    """What a worker needs of the node."""

    runtime: Runtime
    network: Network
    images: ImageStore
    puller: Puller
    cgroups: Cgroups
    clock: Clock
    policy: Policy
    state: Path
    logs: Path
    host_ip: str
    node_facts: dict[str, str]
    # The node's addresses, once the control plane has said which range is its own.
    ipam: Callable[[], Ipam | None]
    lookup: Callable[[str, str, str], Any | None]
    event: EventSink
    report: Report


class Worker:
    def __init__(self, services: Services, pod: Any) -> None:
        self._s = services
        self.pod = pod
        self.uid = pod.metadata.uid
        self.gone = False
        self.folder = services.state / "pods" / self.uid
        meta = pod.metadata
        self.logs = services.logs / f"{meta.namespace}_{meta.name}_{self.uid}"
        self._wake = asyncio.Event()
        self._volumes: dict[str, str] = {}
        self._waits: dict[str, asyncio.Task[None]] = {}
        self.handles: dict[str, Handle] = {}
        self._reported: Any = None
        self._images = PodImages(
            services.puller, services.clock, policy=services.policy, wake=self._look_again,
            event=lambda reason, message, warning: self._s.event(self.pod, reason, message, warning),
        )  # fmt: skip
        self.seen = self._recover()

    # What the manager tells

    def update(self, pod: Any) -> None:
        """A newer version of the pod, or the same pod with its objects changed."""
        if self._reported is not None and statuses.overridden(pod.status, self._reported):
            self._s.report(pod, self._reported, False)
        self.pod = pod
        self._wake.set()

    def leave(self) -> None:
        """The pod is no longer assigned to this node."""
        self.gone = True
        self._wake.set()

    def nudge(self) -> None:
        """Something that a problem may have waited for has come: an image, a ConfigMap, the node's range."""
        self.seen.problems = {key: replace(problem, retry_at=0.0) for key, problem in self.seen.problems.items()}
        self._wake.set()

    def objects_changed(self) -> None:
        volumes.refresh(self.folder / "volumes", self.pod, self._lookup)
        self.nudge()

    # The loop

    async def run(self) -> None:
        """Work until the pod is gone from this node."""
        try:
            while True:
                self._wake.clear()
                now = self._s.clock.now()
                step = steps.next_step(self.pod, gone=self.gone, seen=self.seen, now=now, policy=self._s.policy)
                if isinstance(step, steps.Teardown):
                    await self._teardown()
                    return
                if isinstance(step, steps.Wait):
                    self._publish()
                    await self._wait(step.until)
                else:
                    await self._do(step)
        finally:
            self._images.close()
            for task in self._waits.values():
                task.cancel()

    async def _wait(self, until: float | None) -> None:
        if until is None:
            await self._wake.wait()
            return
        with contextlib.suppress(TimeoutError):
            # A moment more than asked, so that the deadline has passed when we look again.
            await asyncio.wait_for(self._wake.wait(), max(until - self._s.clock.now(), 0) + 0.005)

    def _publish(self) -> None:
        status = statuses.pod_status(
            self.pod, gone=self.gone, seen=self.seen, now=self._s.clock.now(), host_ip=self._s.host_ip,
            policy=self._s.policy, previous=self._reported or self.pod.status,
        )  # fmt: skip
        if status != self._reported:
            self._reported = status
            self._s.report(self.pod, status, False)

    async def _do(self, step: steps.Step) -> None:
        match step:
            case steps.MountVolumes():
                await self._mount_volumes()
            case steps.CreateSandbox():
                await self._create_sandbox()
            case steps.Start():
                await self._start(step)
            case steps.Terminate():
                self.seen.stopping[step.name] = Stopping(step.deadline)
                self._s.event(self.pod, "Killing", f"Stopping container {step.name}", False)
                self._signal(step.name, signal.SIGTERM)
            case steps.Kill():
                self.seen.stopping[step.name] = Stopping(0.0, killed=True)
                self._signal(step.name, signal.SIGKILL)
            case steps.Release():
                await self._release()

    def _fail(self, name: str, reason: str, message: str) -> None:
        """Book a failed step. Its event comes once for each different message."""
        before = self.seen.problems.get(name)
        failures = before.failures + 1 if before is not None else 1
        delay = min(RETRY * 2.0 ** min(failures - 1, 20), self._s.policy.max_backoff)
        self.seen.problems[name] = Problem(reason, message, self._s.clock.now() + delay, failures)
        if before is None or before.message != message:
            event = {"CreateContainerConfigError": "Failed"}.get(reason, reason)
            self._s.event(self.pod, event, message, True)

    def _lookup(self, kind: str, name: str) -> Any | None:
        return self._s.lookup(kind, self.pod.metadata.namespace, name)

    # Steps

    async def _mount_volumes(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._volumes = await asyncio.to_thread(volumes.prepare, self.folder / "volumes", self.pod, self._lookup)
        except VolumeError as error:
            self._fail("", "FailedMount", str(error))
            return
        self.seen.problems.pop("", None)
        self.seen.volumes = True

    async def _create_sandbox(self) -> None:
        host_network = self.pod.spec.hostNetwork
        self._sandbox_made.unlink(missing_ok=True)
        try:
            self._s.cgroups.create(self._cgroup, Limits(pids=0), leaf=False)
            await self._s.runtime.create_sandbox(SandboxConfig(self.folder / "sandbox", self._hostname, host_network))
            if not host_network:
                self.seen.address = self._address()
                self._save_sandbox()
                await self._s.network.attach(self.uid, self.folder / "sandbox/ns/net", self.seen.address)
            else:
                self._save_sandbox()
            self._write_etc()
            self._sandbox_made.touch()
        except (StartError, NetworkError, OSError) as error:
            self._fail("", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            return
        self.seen.problems.pop("", None)
        self.seen.sandbox = True

    @property
    def _sandbox_made(self) -> Path:
        """A file that is there once nothing of the sandbox is missing: network, address and files too."""
        marker: Path = self.folder / "sandbox-made"
        return marker

    @property
    def _hostname(self) -> str:
        if self.pod.spec.hostNetwork:
            return self._s.node_facts["hostname"]
        return str(self.pod.spec.hostname or self.pod.metadata.name[:63].rstrip("-."))

    @property
    def _cgroup(self) -> str:
        return f"pod{self.uid}"

    def _address(self) -> str:
        ipam = self._s.ipam()
        if ipam is None:
            raise NetworkError("the node has no pod range yet: its agent has not reached the control plane")
        return ipam.allocate(self.uid)

    def _save_sandbox(self) -> None:
        record = {"started_at": self.seen.started_at, "address": self.seen.address, "released": self.seen.released}
        pki.write_private(self.folder / "sandbox.json", json.dumps(record).encode())

    def _write_etc(self) -> None:
        try:
            resolv = Path("/etc/resolv.conf").read_text()
        except OSError:
            resolv = ""
        for name, text in bundles.etc_files(self.pod, self._hostname, self.seen.address, resolv).items():
            (self.folder / name).write_text(text)
            os.chmod(self.folder / name, 0o644)

    async def _start(self, step: steps.Start) -> None:
        container = self._container(step.name)
        image = self._image(container)
        if image is None:
            return
        bundle = self.folder / "containers" / step.name / str(step.number)
        attempt = Attempt(step.name, step.number, container.image, image.pinned, step.streak)
        try:
            # Left by an agent that was killed before the runtime was asked.
            await asyncio.to_thread(discard, bundle)
            self._write_bundle(bundle, container, image)
            pki.write_private(bundle / "attempt.json", json.dumps(_record(attempt)).encode())
        except (ConfigError, SeccompUnavailable, OSError) as error:
            self._fail(step.name, "CreateContainerConfigError", str(error))
            await asyncio.to_thread(discard, bundle)
            return
        self.seen.problems.pop(step.name, None)
        self.seen.stopping.pop(step.name, None)
        try:
            handle = await self._s.runtime.start(bundle)
        except RuntimeLost as error:
            # No run of the container: it does not count for its policy, and the same attempt is made again.
            self._fail(step.name, "RunContainerError", str(error))
            await asyncio.to_thread(discard, bundle)
            return
        except StartError as error:
            self._note_start_error(bundle, attempt, str(error))
            return
        self._s.event(self.pod, "Started", f"Started container {step.name}", False)
        self._append(replace(attempt, started_at=handle.started_at))
        self._follow(handle, step.name)

    def _image(self, container: Any) -> Image | None:
        policy = container.imagePullPolicy
        found = self._images.get(container.name, container.image, policy=policy, pod=self.pod, lookup=self._lookup)
        if isinstance(found, Problem):
            self.seen.problems[container.name] = found
            return None
        return found

    def _look_again(self, name: str) -> None:
        """The pull of a container's image has ended."""
        if name in self.seen.problems:
            self.seen.problems[name] = replace(self.seen.problems[name], retry_at=0.0)
        self._wake.set()

    def _write_bundle(self, bundle: Path, container: Any, image: Image) -> None:
        if not self._volumes:
            self._volumes = volumes.prepare(self.folder / "volumes", self.pod, self._lookup)
        place = bundles.Place(self.folder, self.logs, self._volumes, self._facts(), self._cgroup)
        bundles.write(
            bundle, self.pod, container, image, place, images=self._s.images, cgroups=self._s.cgroups,
            lookup=self._lookup, seccomp_folder=self._s.state / "seccomp", log=self.log_of(container.name, int(bundle.name)),
        )  # fmt: skip

    def log_of(self, container: str, number: int) -> Path:
        return self.logs / container / f"{number}.log"

    def _facts(self) -> dict[str, str]:
        address = self._s.host_ip if self.pod.spec.hostNetwork else self.seen.address
        return {
            **self._s.node_facts, "hostname": self._hostname, "status.hostIP": self._s.host_ip,
            "status.hostIPs": self._s.host_ip, "status.podIP": address, "status.podIPs": address,
        }  # fmt: skip

    def _container(self, name: str) -> Any:
        return next(c for c in (*self.pod.spec.initContainers, *self.pod.spec.containers) if c.name == name)

    def _note_start_error(self, bundle: Path, attempt: Attempt, text: str) -> None:
        """A start that failed counts as a run that ended at once, with the code that shells give."""
        now = self._s.clock.now()
        code = 127 if "not found" in text or "no such file" in text else 128
        ended = replace(attempt, finished_at=now, code=code, start_error=text)
        with contextlib.suppress(OSError):
            pki.write_private(bundle / "attempt.json", json.dumps(_record(ended)).encode())
        self._s.event(self.pod, "Failed", f"Error: failed to start container {attempt.name}: {text}", True)
        self._append(ended)

    def _append(self, attempt: Attempt) -> None:
        kept = (*self.seen.attempts.get(attempt.name, ()), attempt)
        self.seen.attempts[attempt.name] = kept[-KEPT:]
        for old in kept[:-KEPT]:
            self._forget(old)

    def _forget(self, attempt: Attempt) -> None:
        discard(self.folder / "containers" / attempt.name / str(attempt.number))
        for path in self.logs.glob(f"{attempt.name}/{attempt.number}.log*"):
            path.unlink(missing_ok=True)
        self._s.cgroups.remove(f"{self._cgroup}/{attempt.name}-{attempt.number}")

    def _follow(self, handle: Handle, name: str) -> None:
        self.handles[name] = handle
        task = asyncio.ensure_future(self._await_end(handle, name))
        self._waits[name] = task

    async def _await_end(self, handle: Handle, name: str) -> None:
        exit_ = await self._s.runtime.wait(handle)
        # Whatever the container left behind in its cgroup ends with it.
        path = f"{self._cgroup}/{name}-{handle.bundle.name}"
        self._s.cgroups.kill(path)
        self.handles.pop(name, None)
        self._note_end(name, int(handle.bundle.name), exit_)
        self._s.cgroups.remove(path)
        self._wake.set()

    def _note_end(self, name: str, number: int, exit_: Exit) -> None:
        bundle = self.folder / "containers" / name / str(number)
        self.seen.attempts[name] = tuple(
            _ended(attempt, exit_, self._message(bundle, name, exit_)) if attempt.number == number else attempt
            for attempt in self.seen.attempts[name]
        )
        with contextlib.suppress(OSError):
            pki.write_private(bundle / "attempt.json", json.dumps(_record(self.seen.attempts[name][-1])).encode())
        # The writable layer is of no use any more; what logs and status need stays.
        for part in ("upper", "work", "rootfs"):
            shutil.rmtree(bundle / part, ignore_errors=True)
        if exit_.code and self.seen.stopping.get(name) is None and steps.restarts(self.pod, self.seen.last(name)):
            text = f"Back-off restarting failed container {name} in pod {self.pod.metadata.name}"
            self._s.event(self.pod, "BackOff", text, True)

    def _message(self, bundle: Path, name: str, exit_: Exit) -> str:
        """The termination message: the file, or the end of the log where the policy says so."""
        container = self._container(name)
        with contextlib.suppress(OSError), open(bundle / bundles.TERMINATION_LOG, "rb") as file:
            data = file.read(bundles.MAX_TERMINATION_MESSAGE)
            if data:
                return data.decode(errors="replace")
        if exit_.code and container.terminationMessagePolicy == "FallbackToLogsOnError":
            with contextlib.suppress(OSError), open(self.log_of(name, int(bundle.name)), "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 2048))
                lines = file.read(2048).decode(errors="replace").splitlines()
                return "\n".join(line.split(" ", 3)[-1] for line in lines)
        return exit_.message

    def _signal(self, name: str, number: int) -> None:
        handle = self.handles.get(name)
        if handle is None:
            return
        descriptor = open_process(handle.pid, handle.pid_start)
        if descriptor is None:
            return
        try:
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)

    async def _release(self) -> None:
        """The pod has ended: its network goes, its logs and bundles stay until it is deleted."""
        await self._detach()
        self.seen.released = True
        self._save_sandbox()

    async def _detach(self) -> None:
        try:
            await self._s.network.detach(self.uid)
            await self._s.runtime.remove_sandbox(self.folder / "sandbox")
        except (NetworkError, StartError) as error:
            log.warning("release_failed pod=%s error=%s", self.uid, error)
        ipam = self._s.ipam()
        if ipam is not None:
            ipam.release(self.uid)

    async def _teardown(self) -> None:
        """Remove every trace, then say so. What resists is tried again; the pod is not reported gone before."""
        for number in range(TEARDOWN_TRIES):
            try:
                await self._remove_all()
                break
            except OSError as error:
                log.warning("teardown_retry pod=%s try=%d error=%s", self.uid, number, error)
                await self._s.clock.sleep(min(0.05 * 2**number, 5.0))
        else:
            log.error("teardown_failed pod=%s folder=%s", self.uid, self.folder)
        self._s.report(self.pod, self._final_status(), True)

    def _final_status(self) -> Any:
        self.seen.released = True
        return statuses.pod_status(
            self.pod, gone=self.gone, seen=self.seen, now=self._s.clock.now(), host_ip=self._s.host_ip,
            policy=self._s.policy, previous=self._reported,
        )  # fmt: skip

    async def _remove_all(self) -> None:
        self._s.cgroups.kill(self._cgroup)
        await self._detach()
        await asyncio.to_thread(volumes.remove, self.folder / "volumes")
        if not self._s.cgroups.remove(self._cgroup):
            raise OSError("processes are left in the pod's cgroup")
        self._s.cgroups.prune()
        await asyncio.to_thread(shutil.rmtree, self.logs, ignore_errors=True)
        await asyncio.to_thread(_remove_tree, self.folder)

    # After a restart of the agent

    def _recover(self) -> Seen:
        record = _load(self.folder / "sandbox.json")
        if record is None:
            return Seen(started_at=self._s.clock.now())
        seen = Seen(record["started_at"], released=record["released"], address=record["address"])
        ipam = self._s.ipam()
        if ipam is not None and seen.address and not seen.released:
            with contextlib.suppress(NetworkError):
                ipam.hold(self.uid, seen.address)
        # After a reboot the pins are gone and the sandbox is made again; the address stays. So it is when it was half
        # made: every step of making it can be repeated.
        seen.sandbox = self._sandbox_made.exists() and os.path.ismount(self.folder / "sandbox/shm")
        self.seen = seen
        for folder in sorted((self.folder / "containers").glob("*")):
            numbers = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
            for number in numbers:
                self._recover_attempt(folder / str(number))
        return seen

    def _recover_attempt(self, bundle: Path) -> None:
        record = _load(bundle / "attempt.json")
        if record is None:
            discard(bundle)
            return
        attempt = Attempt(**record)
        if attempt.finished_at is None:
            found = self._s.runtime.recover(bundle)
            if found is None:
                discard(bundle)
                return
            if isinstance(found, Handle):
                attempt = replace(attempt, started_at=found.started_at)
                self._append(attempt)
                self._follow(found, attempt.name)
                return
            self._append(attempt)
            state = _load(bundle / "state.json") or {}
            self.seen.attempts[attempt.name] = (
                *self.seen.attempts[attempt.name][:-1], replace(attempt, started_at=state.get("started_at")),
            )  # fmt: skip
            self._note_end(attempt.name, attempt.number, found)
            return
        self._append(attempt)


def _record(attempt: Attempt) -> dict[str, Any]:
    return {name: getattr(attempt, name) for name in Attempt.__slots__}


def _load(path: Path) -> dict[str, Any] | None:
    try:
        value: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return value


def _ended(attempt: Attempt, exit_: Exit, message: str) -> Attempt:
    return replace(
        attempt, finished_at=exit_.finished_at, code=exit_.code, signal=exit_.signal, oom_killed=exit_.oom_killed,
        message=message,
    )  # fmt: skip


def _remove_tree(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
