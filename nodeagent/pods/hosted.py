"""A pod as this node hosts it: what the parts of its worker (sandbox, containers, loop) share."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from nodeagent.pods import hostnames, security
from nodeagent.pods.journal import Journal
from nodeagent.pods.model import Problem, Seen
from nodeagent.pods.services import Services
from nodeagent.runtime import idranges, select
from nodeagent.runtime.seam import IdRange, Runtime
from nodeagent.volumes.manager import PodVolumes, Volume
from pinnace import podspec
from pinnace.core.v1 import container_pb2

log = logging.getLogger("pinnace.pods")
# Seconds before a failed step (sandbox, volume, image, configuration) is tried again, doubling up to the policy's bound.
RETRY = 2.0
# Reasons that events give by another name.
_EVENT_REASONS = dict.fromkeys(
    ("ErrImagePull", "ErrImageNeverPull", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"), "Failed"
)


class HostedPod:
    def __init__(self, services: Services, pod: Any) -> None:
        self.s = services
        self.pod = pod
        meta = pod.metadata
        self.uid = meta.uid
        self.journal = Journal(services.state / "pods" / self.uid)
        self.logs = services.logs / f"{meta.namespace}_{meta.name}_{self.uid}"
        # Of the pod's runtime; what it is is known once the sandbox is made.
        self.handler = select.NATIVE
        self.seen = Seen(started_at=services.clock.now())
        self.mounter = PodVolumes(self.folder / "volumes", self.lookup, services.node_facts)
        # By name, once they are there.
        self.volumes: dict[str, Volume] = {}
        self.changed = asyncio.Event()
        # What a task beside the worker's loop failed with.
        self._fault: BaseException | None = None

    @property
    def folder(self) -> Path:
        return self.journal.folder

    @property
    def cgroup(self) -> str:
        return self.s.cgroups.pod_path(self.uid, self.pod.status.qosClass)

    @property
    def names(self) -> hostnames.Names:
        return hostnames.names_of(self.pod, node=self.s.node_facts["hostname"], cluster_domain=self.s.dns.domain)

    @property
    def hostname(self) -> str:
        """As its containers see it. Raises HostnameError."""
        return hostnames.nodename(self.pod, self.names)

    @property
    def address(self) -> str:
        """Where the pod's ports are."""
        return self.s.host_ip if self.pod.spec.hostNetwork else self.seen.address

    @property
    def runtime(self) -> Runtime:
        return self.s.runtimes.of(self.handler)

    def save_sandbox(self) -> None:
        self.journal.save_sandbox(self.seen, self.handler)

    def ids(self) -> IdRange | None:
        """The range of a pod with a user namespace of its own (hostUsers: false). Raises StartError, OSError."""
        return idranges.allocate(self.s.state / "pods", self.uid) if security.needs_ids(self.pod) else None

    def facts(self) -> dict[str, str]:
        """What the downward API and the bundle need to know besides the pod."""
        return {
            **self.s.node_facts, "hostname": self.hostname, "status.hostIP": self.s.host_ip,
            "status.hostIPs": self.s.host_ip, "status.podIP": self.address, "status.podIPs": self.address,
        }  # fmt: skip

    def log_of(self, container: str, number: int) -> Path:
        return self.logs / container / f"{number}.log"

    def container(self, name: str) -> Any:
        """A bare one for a name that the pod does not have: its `pod.pb` may be lost while its containers are not."""
        found = podspec.find(self.pod, name)
        return container_pb2.Container(name=name) if found is None else found

    def lookup(self, kind: str, name: str) -> Any | None:
        """A ConfigMap or Secret of the pod's namespace."""
        return self.s.lookup(kind, self.pod.metadata.namespace, name)

    def mind(self, task: asyncio.Task[None]) -> None:
        """A task beside the worker's loop: when it fails, so does the worker, and what the task was to see is not lost."""
        task.add_done_callback(self._minded)

    def _minded(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._fault = self._fault or task.exception()
            self.changed.set()

    def check(self) -> None:
        """Raise what a minded task has failed with."""
        if self._fault is not None:
            raise self._fault

    def event(self, reason: str, message: str, *, warning: bool = False) -> None:
        self.s.event(self.pod, reason, message, warning)

    def fail(self, name: str, reason: str, message: str, *, at_once: int = 0) -> None:
        """Book a failed step, the first `at_once` in a row to be repeated without delay. Each try has its event: the sink
        counts those that say the same."""
        before = self.seen.problems.get(name)
        failures = before.failures + 1 if before is not None and before.reason == reason else 1
        delay = min(RETRY * 2.0 ** min(failures - at_once - 1, 20), self.s.policy.max_backoff) if failures > at_once else 0.0
        self.seen.problems[name] = Problem(reason, message, self.s.clock.now() + delay, failures)
        self.event(_EVENT_REASONS.get(reason, reason), message, warning=True)

    def forget_waits(self) -> None:
        """Something that a problem may have waited for has come: an image, a ConfigMap, the node's range."""
        self.seen.problems = {key: replace(problem, retry_at=0.0) for key, problem in self.seen.problems.items()}
        self.changed.set()
