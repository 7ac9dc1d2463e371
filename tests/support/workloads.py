"""Workloads on a control plane without agents: manifests, and agents that start and stop pods when a test says so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from pinnace import codec, kinds
from pinnace.clock import settle
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.kinds import Kind
from tests.support.api import Api
from tests.support.cluster import TURNS, Cluster

LABELS = {"app": "web"}
# Steps of agents and controllers after which a rollout has come to rest.
MAX_STEPS = 200


def template(image: str = "web:1", *, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": labels or LABELS}, "spec": {"containers": [{"name": "main", "image": image}], **spec}}


def replica_set(name: str = "web", replicas: int = 3, **spec: Any) -> dict[str, Any]:
    """With the template of `template` unless `spec` has one."""
    body = {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template(), **spec}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name, "namespace": "default"}, "spec": body}


def deployment(name: str = "web", replicas: int = 3, **spec: Any) -> dict[str, Any]:
    """As `replica_set`."""
    return {**replica_set(name, replicas, **spec), "kind": "Deployment"}


def daemon_set(name: str = "web", **spec: Any) -> dict[str, Any]:
    """As `replica_set`."""
    body = {"selector": {"matchLabels": LABELS}, "template": template(), **spec}
    return {**replica_set(name), "kind": "DaemonSet", "spec": body}


def stateful_set(name: str = "web", replicas: int = 3, **spec: Any) -> dict[str, Any]:
    """As `replica_set`."""
    return {**replica_set(name, replicas, serviceName="web", **spec), "kind": "StatefulSet"}


class SettledApi(Api):
    """Each request is answered when the controllers have come to rest."""

    async def create(self, kind: Kind, value: Any, *, dry_run: bool = False) -> Any:
        return await _rest(super().create(kind, value, dry_run=dry_run))

    async def patch(self, kind: Kind, name: str, type_: str, patch: Any, **how: Any) -> Any:
        return await _rest(super().patch(kind, name, type_, patch, **how))


async def _rest(call: Awaitable[Any]) -> Any:
    answer = await call
    await settle(TURNS)
    return answer


class Agents:
    """They start the pods that are scheduled, and stop those that are deleted, one each step."""

    def __init__(self, cluster: Cluster, *nodes: str) -> None:
        self._cluster = cluster
        self._nodes = nodes

    async def join(self) -> None:
        for node in self._nodes:
            labels = {"kubernetes.io/hostname": node}
            await self._cluster.join(node, cpu="100", memory="100Gi", pods="1000", meta={"labels": labels})
            self._cluster.alive.add(node)

    def pods(self) -> list[Pod]:
        return [row.parse() for row in self._cluster.store.rows(kinds.POD, "default")]

    async def step(self, *, fails: Callable[[Pod], bool] = lambda _: False) -> bool:
        """Start or stop one pod; False when there is none. Pods that `fails` selects run and never get ready."""
        for pod in self.pods():
            if not pod.spec.nodeName:
                continue
            if pod.metadata.deletionTimestamp.seconds:
                await self._cluster.report(pod.spec.nodeName, pod, phase="Succeeded", removed=True)
                return True
            if pod.status.phase == "Pending":
                await self.start(pod, ready=not fails(pod))
                return True
        return False

    async def start(self, pod: Pod, *, ready: bool = True) -> None:
        since = codec.format_time(int(self._cluster.clock.now()))
        condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": since}
        await self._cluster.state(pod.spec.nodeName, pod, phase="Running", conditions=[condition], startTime=since)

    async def settle(
        self, *, watch: Callable[[], None] = lambda: None, fails: Callable[[Pod], bool] = lambda _: False
    ) -> None:  # fmt: skip
        """Until nothing is left to start or stop; `watch` looks at every state on the way."""
        for _ in range(MAX_STEPS):
            watch()
            if not await self.step(fails=fails):
                return
        raise AssertionError(f"pods still change after {MAX_STEPS} steps")
