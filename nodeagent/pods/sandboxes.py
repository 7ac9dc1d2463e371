"""A pod's sandbox on this node: cgroup, namespaces, network and the files of /etc, made and given back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nodeagent.launcher import bundle as names
from nodeagent.launcher import sandbox
from nodeagent.network import sandboxaddress
from nodeagent.network.interface import HostPort, NetworkError
from nodeagent.network.policies import reader
from nodeagent.node.resources import pod_limits
from nodeagent.pods.context import PodContext
from nodeagent.pods.model import ObservedState
from nodeagent.pods.restarts import ended_for_good
from nodeagent.pods.spec import etcfiles, sysctls
from nodeagent.pods.spec.hostnames import HostnameError
from nodeagent.runtime.cgroups import Limits
from nodeagent.runtime.handlers import handler_of
from nodeagent.runtime.interface import SandboxConfig, StartError
from pinnace import hostports
from pinnace.ipfamilies import family_of

_ANY_IPV6 = "::"


class Sandbox:
    def __init__(self, pod_ctx: PodContext) -> None:
        self._pod_ctx = pod_ctx
        self._folder = Path(names.sandbox(pod_ctx.folder))

    async def create(self) -> None:
        """Make all of it; every step can be repeated, so a half made one is completed. Books what fails."""
        pod_ctx, state = self._pod_ctx, self._pod_ctx.state
        if begin_anew(pod_ctx.pod, pod_ctx.observed):
            pod_ctx.event("SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        try:
            state.sandbox_begun(handler_of(pod_ctx.pod, pod_ctx.deps.lookup))
            config = self._config()
            await pod_ctx.runtime.create_sandbox(config)
            addresses = () if config.host_network else sandboxaddress.allocate(pod_ctx.deps.ipam, pod_ctx.uid)
            state.addresses_given(addresses)
            if not config.host_network:
                netns = Path(names.namespace(self._folder, "net"))
                await pod_ctx.deps.isolation.isolate(pod_ctx.uid, reader.pod(pod_ctx.pod, addresses))
                await pod_ctx.deps.network.attach(pod_ctx.uid, netns, addresses, host_ports(pod_ctx.pod, addresses))
                await pod_ctx.deps.serving()
            self._write_etc()
            state.sandbox_made()
        except (StartError, NetworkError, OSError, HostnameError) as error:
            state.failed("", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")

    def _config(self) -> SandboxConfig:
        pod_ctx = self._pod_ctx
        spec = pod_ctx.pod.spec
        cgroup = pod_ctx.cgroup
        limits = pod_limits(spec, pod_ctx.pod.status.qosClass, pod_ctx.deps.pod_max_pids)
        folders = pod_ctx.deps.cgroups.create(cgroup, limits, leaf=False)
        if spec.shareProcessNamespace:
            # The reaper's own: on v2 a cgroup that has others below it takes no process.
            folders = pod_ctx.deps.cgroups.create(f"{cgroup}/sandbox", Limits(), leaf=True)
        ids = pod_ctx.ids()
        return SandboxConfig(
            self._folder, pod_ctx.hostname, host_network=spec.hostNetwork, host_ipc=spec.hostIPC,
            shared_pid=bool(spec.shareProcessNamespace), ids=ids, sysctls=sysctls.of(pod_ctx.pod, ids), cgroups=folders,
        )  # fmt: skip

    def whole(self) -> bool:
        """Whether nothing of it is missing. After a reboot the pins are gone and it is made again; the address stays."""
        return self._pod_ctx.state.checkpoint.sandbox_made.exists() and sandbox.whole(str(self._folder))

    def resume(self) -> None:
        """The pod was attached before the agent started."""
        pod_ctx = self._pod_ctx
        if not pod_ctx.pod.spec.hostNetwork:
            addresses, netns = pod_ctx.observed.addresses, Path(names.namespace(self._folder, "net"))
            pod_ctx.deps.isolation.update(pod_ctx.uid, reader.pod(pod_ctx.pod, addresses))
            pod_ctx.deps.network.resume(pod_ctx.uid, netns, addresses, host_ports(pod_ctx.pod, addresses))

    def relabel(self) -> None:
        """The pod has other labels."""
        self._pod_ctx.deps.isolation.relabel(self._pod_ctx.uid, dict(self._pod_ctx.pod.metadata.labels))

    def _write_etc(self) -> None:
        pod_ctx = self._pod_ctx
        warnings = etcfiles.write(
            pod_ctx.folder,
            pod_ctx.pod,
            names=pod_ctx.names,
            nodename=pod_ctx.hostname,
            addresses=pod_ctx.observed.addresses,
            dns=pod_ctx.deps.dns(),
        )
        for text in warnings:
            pod_ctx.event("DNSConfigForming", text, warning=True)

    async def release(self) -> None:
        """See sandboxaddress.release. Raises NetworkError, StartError."""
        pod_ctx, deps = self._pod_ctx, self._pod_ctx.deps
        await sandboxaddress.release(deps.network, pod_ctx.runtime, deps.ipam, pod_ctx.uid, self._folder)
        # At once: the next pod that gets one of its addresses is isolated in the same transaction, or later.
        deps.isolation.update(pod_ctx.uid, None)


def begin_anew(pod: Any, observed: ObservedState) -> bool:
    """The pod gets another sandbox: where containers ran in the last one, all start again, init containers first, but for
    main containers that have ended for good. Returns whether any ran.

    Source: kubelet's computePodActions for a pod whose sandbox has changed."""
    if not any(observed.recent(name) is not None for name in observed.attempts):
        return False
    observed.finished = ended_for_good(pod, observed)
    observed.epoch += 1
    return True


def host_ports(pod: Any, addresses: Sequence[str]) -> list[HostPort]:
    """The ports of the node that are the pod's, at the node's addresses of the families that the pod has. The hostIP `::` means
    all of its IPv6 addresses."""
    return [
        HostPort(
            item.protocol.lower(), "" if item.address == _ANY_IPV6 else item.address, item.port, address, item.container_port
        )
        for item in hostports.of(pod)
        for address in addresses
        if not item.address or family_of(item.address) == family_of(address)
    ]
