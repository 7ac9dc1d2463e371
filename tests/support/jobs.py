"""Jobs on a control plane without agents: manifests, and agents that start and end pods when a test says so."""

from __future__ import annotations

from typing import Any

from controlplane import conditions
from pinnace import codec, kinds
from pinnace.core.v1.pod_pb2 import Pod
from tests.support.cluster import Cluster
from tests.support.workloads import Agents

INDEX = "batch.kubernetes.io/job-completion-index"


def job(name: str = "work", *, restart: str = "Never", **spec: Any) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "main", "image": "work:1"}], "restartPolicy": restart}}
    body = {"template": template, **spec}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "default"}, "spec": body}


def indexed(completions: int, **spec: Any) -> dict[str, Any]:
    return job(completionMode="Indexed", completions=completions, parallelism=spec.pop("parallelism", completions), **spec)


class Workers(Agents):
    """Agents whose pods end."""

    def __init__(self, cluster: Cluster, *nodes: str) -> None:
        super().__init__(cluster, *nodes)
        self.cluster = cluster

    def rebind(self, cluster: Cluster) -> None:
        """The same agents with another control plane."""
        self._cluster = self.cluster = cluster

    def running(self) -> list[Pod]:
        """Pods that have not ended and are not deleted."""
        return [pod for pod in self.pods() if not pod.metadata.deletionTimestamp.seconds and pod.status.phase in _ACTIVE]

    def at(self, index: int) -> Pod:
        """The pod of an index that runs."""
        [found] = [pod for pod in self.running() if pod.metadata.annotations[INDEX] == str(index)]
        return found

    async def end(self, pod: Pod, phase: str = "Succeeded", *, code: int | None = None, **status: Any) -> None:
        """The pod ends now, by itself; its container with `code`."""
        exit_code = code if code is not None else int(phase == "Failed")
        ended = {"exitCode": exit_code, "finishedAt": codec.format_time(int(self.cluster.clock.now()))}
        container = {"name": "main", "state": {"terminated": ended}}
        await self.cluster.report(pod.spec.nodeName, pod, phase=phase, containerStatuses=[container], **status)

    async def fail(self, pod: Pod, code: int = 1, **status: Any) -> None:
        await self.end(pod, "Failed", code=code, **status)

    async def stop(self) -> None:
        """Deleted pods end, as containers that are killed do."""
        for pod in self.pods():
            if pod.metadata.deletionTimestamp.seconds and pod.spec.nodeName:
                await self.cluster.report(pod.spec.nodeName, pod, phase="Failed", removed=True)

    async def wait(self, seconds: float) -> None:
        await self.cluster.advance(seconds)

    def job(self, name: str = "work") -> Any:
        return self.cluster.get(kinds.JOB, name)

    def condition(self, type_: str, name: str = "work") -> str:
        """The reason of a condition that is True; empty for another."""
        found = conditions.find(self.job(name).status, type_)
        return found.reason if found is not None and found.status == "True" else ""

    def counts(self, name: str = "work") -> tuple[int, int, int]:
        """Active, succeeded and failed."""
        status = self.job(name).status
        return status.active, status.succeeded, status.failed


_ACTIVE = ("", "Pending", "Running")
