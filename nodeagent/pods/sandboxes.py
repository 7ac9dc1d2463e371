"""A pod's sandbox on this node: cgroup, namespaces, network and the files of /etc, made and given back."""

from __future__ import annotations

from typing import Any

from nodeagent.network.seam import HostPort, NetworkError
from nodeagent.pods import etcfiles
from nodeagent.pods.hosted import HostedPod
from nodeagent.pods.hostnames import HostnameError
from nodeagent.resources import pod_limits
from nodeagent.runtime.cgroups import Limits
from nodeagent.runtime.native import sandbox
from nodeagent.runtime.seam import SandboxConfig, StartError
from nodeagent.runtime.select import handler_of
from pinnace import hostports


class Sandbox:
    def __init__(self, hosted: HostedPod) -> None:
        self._hosted = hosted
        self._folder = hosted.folder / "sandbox"

    async def create(self) -> None:
        """Make all of it; every step can be repeated, so a half made one is completed. Books what fails."""
        hosted = self._hosted
        hosted.journal.sandbox_made.unlink(missing_ok=True)
        try:
            hosted.handler = handler_of(hosted.pod, hosted.s.lookup)
            config = self._config()
            await hosted.runtime.create_sandbox(config)
            if not config.host_network:
                hosted.seen.address = self._address()
            hosted.save_sandbox()
            if not config.host_network:
                address = hosted.seen.address
                await hosted.s.network.attach(hosted.uid, self._folder / "ns/net", address, host_ports(hosted.pod, address))
            self._write_etc()
            hosted.journal.sandbox_made.touch()
        except (StartError, NetworkError, OSError, HostnameError) as error:
            hosted.fail("", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            return
        hosted.seen.problems.pop("", None)
        hosted.seen.sandbox = True

    def _config(self) -> SandboxConfig:
        hosted = self._hosted
        spec = hosted.pod.spec
        cgroup = hosted.cgroup
        limits = pod_limits(spec, hosted.pod.status.qosClass, hosted.s.pod_max_pids)
        folders = hosted.s.cgroups.create(cgroup, limits, leaf=False)
        if spec.shareProcessNamespace:
            # The reaper's own: on v2 a cgroup that has others below it takes no process.
            folders = hosted.s.cgroups.create(f"{cgroup}/sandbox", Limits(), leaf=True)
        return SandboxConfig(
            self._folder, hosted.hostname, host_network=spec.hostNetwork, host_ipc=spec.hostIPC,
            shared_pid=bool(spec.shareProcessNamespace), ids=hosted.ids(),
            sysctls=tuple((item.name, item.value) for item in spec.securityContext.sysctls), cgroups=folders,
        )  # fmt: skip

    def whole(self) -> bool:
        """Whether nothing of it is missing. After a reboot the pins are gone and it is made again; the address stays."""
        return self._hosted.journal.sandbox_made.exists() and sandbox.whole(str(self._folder))

    def resume(self) -> None:
        """The pod was attached before the agent started."""
        if not self._hosted.pod.spec.hostNetwork:
            self._hosted.s.network.resume(self._hosted.uid, host_ports(self._hosted.pod, self._hosted.seen.address))

    def _address(self) -> str:
        ipam = self._hosted.s.ipam()
        if ipam is None:
            raise NetworkError("the node has no pod range yet: its agent has not reached the control plane")
        return ipam.allocate(self._hosted.uid)

    def _write_etc(self) -> None:
        hosted = self._hosted
        addresses = [hosted.seen.address] if hosted.seen.address else []
        warnings = etcfiles.write(
            hosted.folder, hosted.pod, names=hosted.names, nodename=hosted.hostname, addresses=addresses, dns=hosted.s.dns
        )
        for text in warnings:
            hosted.event("DNSConfigForming", text, warning=True)

    async def release(self) -> None:
        """Give back network, address and namespaces, the address last: until then packets to it are for this pod. Having
        none is no error. Raises NetworkError, StartError."""
        hosted = self._hosted
        await hosted.s.network.detach(hosted.uid)
        await hosted.runtime.remove_sandbox(self._folder)
        ipam = hosted.s.ipam()
        if ipam is not None:
            ipam.release(hosted.uid)


def host_ports(pod: Any, address: str) -> list[HostPort]:
    """The ports of the node that are the pod's."""
    return [
        HostPort(item.protocol.lower(), item.address, item.port, address, item.container_port) for item in hostports.of(pod)
    ]
