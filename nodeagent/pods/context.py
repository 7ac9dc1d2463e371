"""A pod as this node hosts it: what the parts of its worker (sandbox, containers, loop) share."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nodeagent.linux import mountinfo
from nodeagent.pods import resize
from nodeagent.pods.checkpoint import PodCheckpoint
from nodeagent.pods.dependencies import WorkerDependencies
from nodeagent.pods.leftovers import Leftovers
from nodeagent.pods.model import ObservedState, StepFailure
from nodeagent.pods.spec import etcfiles, hostnames, security
from nodeagent.pods.state import PodState
from nodeagent.runtime import idranges
from nodeagent.runtime.interface import IdRange, Runtime
from nodeagent.volumes.accounttokens import REASON, PodTokens
from nodeagent.volumes.content import ACCOUNT_TOKEN, VolumeError
from nodeagent.volumes.external import External, naming
from nodeagent.volumes.manager import PodVolumes, Volume
from pinnace import kinds, podresources, podspec, podtokens
from pinnace.core.v1 import container_pb2

log = logging.getLogger("pinnace.pods")
# Seconds between looks at a token that is refused; the next answer wakes the worker at once.
LOOK = 3600.0
# Seconds for the volumes of a pod to be there, and for a path of the node to answer.
MOUNT_WITHIN = 30.0


class PodContext:
    def __init__(self, deps: WorkerDependencies, pod: Any) -> None:
        self.deps = deps
        meta = pod.metadata
        self.uid = meta.uid
        checkpoint = PodCheckpoint(deps.state / "pods" / self.uid)
        # As assigned, and with the resources that are allocated: what the worker goes by.
        self.desired = pod
        self.pod = resize.allocated(pod, checkpoint.load_pod())
        self.state = PodState(checkpoint, deps.clock, deps.policy, lambda *said: deps.event(self.pod, *said))
        self.logs = deps.logs / f"{meta.namespace}_{meta.name}_{self.uid}"
        files = tuple(etcfiles.TARGETS.values())
        self.mounter = PodVolumes(self.folder / "volumes", self.lookup, deps.node_facts, files, deps.local_volumes)
        warning = functools.partial(self.event, warning=True)
        self.tokens = PodTokens(deps.create_token, deps.clock, self._tokens_changed, warning)
        self._keeping: asyncio.Task[None] | None = None
        # By name, once they are there.
        self.volumes: dict[str, Volume] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._stale = False
        self._cgroup = ""
        # What a task next to the worker's loop failed with.
        self._fault: BaseException | None = None
        self.leftovers = Leftovers(deps.pools.deletions.of(self.uid), mind=self.mind, failed=self._not_deleted)

    @property
    def observed(self) -> ObservedState:
        """For reading; changes go through `state`."""
        return self.state.observed

    @property
    def folder(self) -> Path:
        return self.state.checkpoint.folder

    @property
    def memory(self) -> Path:
        """Where the configurations of its containers are: a directory in memory."""
        return Path(self.deps.memory, "configs", self.uid)

    @property
    def cgroup(self) -> str:
        """Looked for once: a pod's class does not change."""
        self._cgroup = self._cgroup or self.deps.cgroups.pod_path(self.uid, self.pod.status.qosClass)
        return self._cgroup

    @property
    def names(self) -> hostnames.Names:
        return hostnames.names_of(self.pod, node=self.deps.node_facts["hostname"], cluster_domain=self.deps.dns().domain)

    @property
    def hostname(self) -> str:
        """As its containers see it. Raises HostnameError."""
        return hostnames.nodename(self.pod, self.names)

    @property
    def address(self) -> str:
        """Where the pod's ports are."""
        return next(iter(self.addresses), "")

    @property
    def addresses(self) -> tuple[str, ...]:
        """One of each address family, the primary one first."""
        return self.deps.host_ips() if self.pod.spec.hostNetwork else self.observed.addresses

    @property
    def runtime(self) -> Runtime:
        return self.deps.runtimes.of(self.state.handler)

    def ids(self) -> IdRange | None:
        """The range of a pod with a user namespace of its own (hostUsers: false). Raises StartError, OSError."""
        return idranges.allocate(self.deps.state / "pods", self.uid) if security.needs_ids(self.pod) else None

    def facts(self) -> dict[str, str]:
        """What the downward API and the bundle need to know besides the pod."""
        return {
            **self.deps.node_facts, "hostname": self.hostname, "status.hostIP": self.deps.host_ips()[0],
            "status.hostIPs": ",".join(self.deps.host_ips()), "status.podIP": self.address,
            "status.podIPs": ",".join(self.addresses),
        }  # fmt: skip

    def services(self) -> Mapping[str, str]:
        """Variables for its containers. A static pod has none: it may start before the control plane is known."""
        return {} if podresources.is_static(self.pod) else self.deps.services(self.pod)

    def log_of(self, container: str, number: int) -> Path:
        return self.logs / container / f"{number}.log"

    def container(self, name: str) -> Any:
        """A bare one for a name that the pod does not have: its `pod.pb` may be lost while its containers are not."""
        found = podspec.find(self.pod, name)
        return container_pb2.Container(name=name) if found is None else found

    def lookup(self, kind: str, name: str) -> Any | None:
        """An object of the pod's namespace, the volume of a claim, or a token of its account."""
        if kind == ACCOUNT_TOKEN:
            return self.tokens.get(name)
        return self.deps.lookup(kind, "" if kind == kinds.PERSISTENT_VOLUME.kind else self.pod.metadata.namespace, name)

    async def make_volumes(self, layers: Mapping[str, Sequence[str]]) -> None:
        """Make or refresh all volumes. Raises VolumeError, OSError."""
        await self._check_external(self.mounter.external(self.pod))
        prepare = self.mounter.prepare
        self.volumes = await self.deps.pools.volumes.run_within(MOUNT_WITHIN, prepare, self.pod, layers)

    async def _check_external(self, items: Iterable[External]) -> None:
        """What lies outside of the pod's directory may be anywhere. What the machine itself answers for waits for nothing else;
        of all else, one call at a time waits for each server or file system. Raises VolumeError."""
        mounted = mountinfo.mounts()
        for item in items:
            share = self.deps.pools.host_paths.of(item.owner(self.mounter.folder, mounted))
            with naming(item.volume):
                await share.run_within(MOUNT_WITHIN, self.mounter.check, item, self.pod)

    def token_failure(self) -> StepFailure | None:
        """Why its volumes are not made yet, if for want of a token. One that is refused is waited for, as in kubelet; without a
        control plane the pod starts without it, and its volumes show it once it comes."""
        self._keep_tokens()
        now, lack = self.deps.clock.now(), self.tokens.lack(self.pod)
        if lack is None:
            return None
        until = now + LOOK if lack.until is None else lack.until
        if until > now:
            return StepFailure("FailedMount", f"failed to fetch token: {lack.why}", until)
        text = f'Unable to retrieve the service account token of volume "{lack.volume}": {lack.why}'
        self.event(REASON, f"{text}; containers start without it", warning=True)
        return None

    def _keep_tokens(self) -> None:
        """Have the tokens that its volumes show from now on, for as long as it has a worker."""
        if self._keeping is None and any(podtokens.projections(self.pod)):
            self._keeping = self.tokens.start(lambda: self.pod)
            self.mind(self._keeping)

    def drop_tokens(self) -> None:
        """Renew none any more."""
        if self._keeping is not None:
            self._keeping.cancel()

    def _tokens_changed(self) -> None:
        # Also before its volumes are there: they may be made without it at this moment.
        self.refresh_volumes()
        self.state.retry_now("")

    def refresh_volumes(self) -> None:
        """Bring the files of its volumes up to date, in a thread; once more if that is asked for meanwhile."""
        self._stale = True
        if self._refreshing is None:
            self._refreshing = asyncio.ensure_future(self._refresh())
            self.mind(self._refreshing)

    async def _refresh(self) -> None:
        try:
            while self._stale:
                self._stale = False
                with contextlib.suppress(VolumeError):
                    await self._check_external(self.mounter.unchecked(self.pod))
                await self.deps.pools.volumes.run(self.mounter.refresh, self.pod)
        finally:
            self._refreshing = None

    def close(self) -> None:
        self.leftovers.close()
        self.drop_tokens()
        if self._refreshing is not None:
            self._refreshing.cancel()

    def _not_deleted(self, path: Path, error: OSError) -> None:
        log.warning("not_deleted pod=%s path=%s error=%s", self.uid, path.relative_to(self.folder), error)

    def mind(self, task: asyncio.Task[None]) -> None:
        """A task next to the worker's loop: when it fails, so does the worker, and what the task was to see is not lost."""
        task.add_done_callback(self._minded)

    def _minded(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._fault = self._fault or task.exception()
            self.state.changed.set()

    def check(self) -> None:
        """Raise what a minded task has failed with."""
        if self._fault is not None:
            raise self._fault

    def wants(self, pod: Any) -> None:
        """A newer version of the pod; its allocated resources stay."""
        self.desired, self.pod = pod, resize.allocated(pod, self.pod)

    def allocate(self) -> None:
        """Give the pod the resources that it wants. Raises OSError."""
        self.state.allocated(self.desired)
        self.pod = self.desired
        self.event("ResizeStarted", f"Pod resize started: {resize.summary(self.pod)}")

    def resize_failed(self, message: str) -> None:
        if self.state.resize_failed(message):
            self.event("ResizeError", f"Pod resize error: {resize.summary(self.pod, message)}", warning=True)

    def event(self, reason: str, message: str, *, warning: bool = False) -> None:
        self.deps.event(self.pod, reason, message, warning)
