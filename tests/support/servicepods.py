"""Services and their pods without agents: manifests, and pods that have addresses and become ready when a test says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.store import Tx
from pinnace import codec, kinds
from pinnace.core.v1.pod_pb2 import Pod
from pinnace.core.v1.service_pb2 import Service
from pinnace.discovery.v1.endpointslice_pb2 import EndpointSlice
from tests.support import objects
from tests.support.cluster import Cluster

LABELS = {"app": "web"}
PORT = {"name": "http", "port": 80, "targetPort": 8080}


def service(
    name: str = "web", *ports: Mapping[str, Any], selector: Mapping[str, str] | None = None, meta: dict[str, Any] | None = None,
    **spec: Any,
) -> Service:  # fmt: skip
    """Of the pods with LABELS and with one port, unless the arguments have others."""
    chosen = LABELS if selector is None else selector
    made: Service = objects.make(
        kinds.SERVICE, name, meta=meta, spec={"selector": dict(chosen), "ports": [dict(p) for p in ports or (PORT,)], **spec}
    )  # fmt: skip
    return made


class Backends:
    """Pods on the nodes of a cluster, which run at once; the node `n1` is there."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._since = int(cluster.clock.now())

    async def join(self, *names: str, zone: str = "") -> None:
        for name in names:
            await self._cluster.join(name, cpu="1000", memory="1000Gi", pods="10000")
            self._cluster.alive.add(name)
            if zone:
                labels = {"topology.kubernetes.io/zone": zone}
                await self._cluster.change(kinds.NODE, name, lambda node: node.metadata.labels.update(labels))

    async def widen(self, name: str, *cidrs: str) -> None:
        """Give a node other pod CIDRs than the cluster has for it."""

        def fn(tx: Tx) -> None:
            node = tx.require(kinds.NODE, "", name)
            node.spec.podCIDR, node.spec.podCIDRs[:] = cidrs[0], cidrs
            tx.put(kinds.NODE, node)

        await self._cluster._done(fn)

    async def run(
        self, name: str, *addresses: str, node: str = "n1", labels: Mapping[str, str] = LABELS, ready: bool = True, **spec: Any
    ) -> Pod:
        """A pod that runs on a node with these addresses."""
        made = objects.pod(name, *spec.pop("containers", ()), meta={"labels": dict(labels)}, nodeName=node, **spec)
        pod: Pod = await self._cluster.create(made)
        await self.report(name, *addresses, ready=ready)
        return pod

    async def report(self, name: str, *addresses: str, ready: bool = True, phase: str = "Running", since: int = 0) -> None:
        """The status that the pod's agent reports. `since`: seconds after the start that its readiness changed."""
        pod = self._cluster.get(kinds.POD, name)
        assert pod is not None
        time = codec.format_time(self._since + since)
        condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": time}
        found = {"podIP": addresses[0], "podIPs": [{"ip": ip} for ip in addresses]} if addresses else {}
        await self._cluster.state(pod.spec.nodeName, pod, phase=phase, conditions=[condition], **found)

    async def stop(self, name: str) -> None:
        """The agent has stopped a pod that is being deleted."""
        pod = self._cluster.get(kinds.POD, name)
        assert pod is not None
        await self._cluster.report(pod.spec.nodeName, pod, phase="Succeeded", removed=True)


def slices(cluster: Cluster, name: str = "web") -> list[EndpointSlice]:
    """The slices of a Service."""
    every = [row.parse() for row in cluster.store.rows(kinds.ENDPOINT_SLICE, "default")]
    return [item for item in every if item.metadata.labels.get("kubernetes.io/service-name") == name]


def endpoints(cluster: Cluster, name: str = "web") -> dict[str, tuple[str, str]]:
    """Address and state of each pod in a Service's slices: of `ready`, `serving` and `terminating` those that are true."""
    found: dict[str, tuple[str, str]] = {}
    for item in slices(cluster, name):
        for endpoint in item.endpoints:
            assert endpoint.targetRef.name not in found, "a pod has two endpoints"
            state = [field for field in ("ready", "serving", "terminating") if getattr(endpoint.conditions, field)]
            found[endpoint.targetRef.name] = endpoint.addresses[0], " ".join(state)
    return found
