"""metrics.k8s.io over REST: what nodes and pods use, from statistics that nodes send when they are asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controlplane.access import bootstraproles
from controlplane.rest.bodies import MAGIC
from controlplane.rest.statistics import AT_ONCE, KEPT
from pinnace import kinds, protowire
from pinnace.api.v1 import streams_pb2
from pinnace.clock import settle
from pinnace.meta.v1 import rest_pb2
from pinnace.metrics.v1beta1.metrics_pb2 import NodeMetrics
from tests.support import objects
from tests.support.cluster import TURNS, Cluster
from tests.support.rest import Rest

BASE = "/apis/metrics.k8s.io/v1beta1"
NODES, PODS = f"{BASE}/nodes", f"{BASE}/namespaces/default/pods"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
ALICE = "Bearer token-of-alice"


class Statistics:
    """What a node measures. `cpu` is in nanoseconds since it started, `pods` by namespace and name."""

    def __init__(self, cluster: Cluster, *pods: tuple[str, str]) -> None:
        self._cluster = cluster
        self.pods = list(pods)
        self.cpu = 1_000_000_000

    def __call__(self) -> streams_pb2.NodeStats:
        found = streams_pb2.NodeStats(
            timeNanos=int(self._cluster.clock.now() * 1e9),
            cpuNanos=self.cpu,
            cpuNanoCores=250_000_000,
            memoryWorkingSetBytes=3 << 30,
        )
        for namespace, name in self.pods:
            pod = found.pods.add(namespace=namespace, name=name, uid=f"u-{name}")
            pod.containers.add(name="main", cpuNanos=self.cpu // 2, cpuNanoCores=1_234_567, memoryWorkingSetBytes=5 << 20)
            pod.containers.add(name="side", cpuNanos=self.cpu // 4, cpuNanoCores=0, memoryWorkingSetBytes=(1 << 20) + 4096)
        return found


@pytest.fixture
async def rest(cluster: Cluster) -> Rest:
    """Two nodes with a running pod each, one of them in another namespace, and a pod that is not running."""
    await cluster.store.update(lambda tx: bootstraproles.reconcile(tx, cluster.call()))
    await cluster.join("n1")
    await cluster.join("n2")
    await cluster.change(kinds.NODE, "n1", lambda node: node.metadata.labels.update(zone="a"), namespace="")
    for name, node, namespace in (("web", "n1", "default"), ("db", "n2", "kube-system"), ("new", "n2", "default")):
        made = objects.pod(name, "main", "side", namespace=namespace, meta={"labels": {"app": name}}, nodeName=node)
        pod = await cluster.create(made)
        if name != "new":
            await cluster.report(node, pod)
    await settle(TURNS)
    rest = Rest(cluster)
    rest.router.stats = {
        "n1": Statistics(cluster, ("default", "web")),
        "n2": Statistics(cluster, ("kube-system", "db"), ("default", "new"), ("default", "web")),
    }
    return rest


def names(found: Any) -> list[str]:
    return [item["metadata"]["name"] for item in found["items"]]


def asked(rest: Rest) -> list[str]:
    """The nodes that were asked for statistics, sorted."""
    return sorted(node for node, opening in rest.router.openings if opening.WhichOneof("kind") == "stats")


async def test_metrics_of_a_node(rest: Rest, cluster: Cluster) -> None:
    """Its labels, the end and the length of the measurement, and quantities as metrics-server writes them."""
    found = await rest.get(f"{NODES}/n1")
    assert (found["apiVersion"], found["kind"]) == ("metrics.k8s.io/v1beta1", "NodeMetrics")
    assert found["metadata"]["name"] == "n1"
    assert found["metadata"]["labels"]["zone"] == "a"
    assert found["metadata"]["creationTimestamp"] == found["timestamp"]
    assert found["timestamp"].startswith("2023-11-14T")
    assert (found["window"], found["usage"]) == ("500ms", {"cpu": "250m", "memory": "3Gi"})


async def test_metrics_of_a_pod(rest: Rest) -> None:
    """Each container by itself."""
    found = await rest.get(f"{PODS}/web")
    assert (found["kind"], found["metadata"]["namespace"], found["metadata"]["labels"]) == (
        "PodMetrics",
        "default",
        {"app": "web"},
    )
    assert found["containers"] == [
        {"name": "main", "usage": {"cpu": "1234567n", "memory": "5Mi"}},
        {"name": "side", "usage": {"cpu": "0", "memory": "1028Ki"}},
    ]


async def test_lists_and_selectors(rest: Rest) -> None:
    """By namespace, labels and the fields that metrics have; pods that do not run have no metrics."""
    found = await rest.get(NODES)
    assert (found["kind"], found["metadata"], names(found)) == ("NodeMetricsList", {}, ["n1", "n2"])
    assert names(await rest.get(f"{NODES}?labelSelector=zone%3Da")) == ["n1"]
    assert names(await rest.get(PODS)) == ["web"]
    assert names(await rest.get(f"{BASE}/pods")) == ["web", "db"]
    assert names(await rest.get(f"{BASE}/pods?labelSelector=app+in+(db)")) == ["db"]
    assert names(await rest.get(f"{BASE}/pods?fieldSelector=metadata.namespace%3Dkube-system")) == ["db"]
    assert names(await rest.get(f"{BASE}/pods?fieldSelector=metadata.name!%3Ddb")) == ["web"]
    for query in ("fieldSelector=spec.nodeName%3Dn1", "labelSelector=a+in"):
        assert (await rest.ask("GET", f"{BASE}/pods?{query}"))[0] == 400


async def test_only_nodes_of_selected_pods_are_asked(rest: Rest) -> None:
    """The others have no part in the answer."""
    await rest.get(f"{PODS}/web")
    assert asked(rest) == ["n1"]


async def test_a_node_measures_its_own_pods_alone(rest: Rest, cluster: Cluster) -> None:
    """n2 claims the pod of n1 too, which n1 has forgotten."""
    rest.router.stats["n1"] = Statistics(cluster)
    status, found = await rest.ask("GET", f"{PODS}/web")
    assert (status, found["reason"]) == (404, "NotFound")
    assert found["message"] == 'podmetrics.metrics.k8s.io "web" not found'
    assert names(await rest.get(PODS)) == []


@pytest.mark.parametrize("path", [f"{PODS}/nope", f"{PODS}/new", f"{NODES}/nope", f"{BASE}/pods/web"])
async def test_there_are_no_metrics_of(rest: Rest, path: str) -> None:
    """Objects that do not exist or do not run, and pods without a namespace."""
    assert (await rest.ask("GET", path))[0] == 404


async def test_a_table(rest: Rest) -> None:
    """Columns of metrics-server: the containers of a pod together."""
    found = await rest.get(PODS, accept=TABLE)
    assert [column["name"] for column in found["columnDefinitions"]] == ["Name", "cpu", "memory", "Window"]
    assert [row["cells"] for row in found["rows"]] == [["web", "1234567n", "6148Ki", "500ms"]]
    assert found["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    one = await rest.get(f"{NODES}/n2", accept=TABLE)
    assert [row["cells"] for row in one["rows"]] == [["n2", "250m", "3Gi", "500ms"]]


async def test_protobuf_has_field_numbers_of_kubernetes(rest: Rest) -> None:
    """metadata 1, timestamp 2, window 3, usage 4; of a list, items 2."""
    raw = [await protobuf(rest, f"{NODES}/{name}", "NodeMetrics") for name in ("n1", "n2")]
    message = NodeMetrics.FromString(raw[0])
    assert (message.window.duration, message.usage["memory"].string) == (500_000_000, "3Gi")
    assert {field.number: field.name for field, _ in message.ListFields()} == {
        1: "metadata", 2: "timestamp", 3: "window", 4: "usage",
    }  # fmt: skip
    items = [NodeMetrics.FromString(item).SerializeToString(deterministic=True) for item in raw]
    listed = await protobuf(rest, NODES, "NodeMetricsList")
    assert listed.startswith(protowire.field(1, b"") + protowire.field(2, raw[0])[:3])
    assert len(listed) == 2 + sum(len(protowire.field(2, item)) for item in items)


async def protobuf(rest: Rest, path: str, kind: str) -> bytes:
    """The content of an answer in Kubernetes' envelope."""
    status, data = await rest.text("GET", path, accept="application/vnd.kubernetes.protobuf")
    unknown = rest_pb2.Unknown.FromString(data.removeprefix(MAGIC))
    assert (status, unknown.typeMeta.apiVersion, unknown.typeMeta.kind) == (200, "metrics.k8s.io/v1beta1", kind)
    return bytes(unknown.raw)


async def test_many_clients_cost_one_question(rest: Rest, cluster: Cluster) -> None:
    """Those that ask at the same time, and within some seconds; then the node is asked again."""
    found = await asyncio.gather(*(rest.get(f"{NODES}/n1") for _ in range(20)), rest.get(f"{PODS}/web"))
    assert len({str(item["usage"]) for item in found[:-1]}) == 1
    assert asked(rest) == ["n1"]
    await cluster.advance(KEPT - 0.1)
    await rest.get(f"{NODES}/n1")
    assert asked(rest) == ["n1"]
    await cluster.advance(0.2)
    await rest.get(f"{NODES}/n1")
    assert asked(rest) == ["n1", "n1"]


async def test_the_second_answer_is_averaged_since_the_first(rest: Rest, cluster: Cluster) -> None:
    """Over the time between them; not if the node's counters began anew."""
    measured = Statistics(cluster, ("default", "web"))
    rest.router.stats["n1"] = measured
    await rest.get(f"{NODES}/n1")
    await cluster.advance(10)
    measured.cpu += 4_000_000_000
    found = await rest.get(f"{NODES}/n1")
    assert (found["window"], found["usage"]["cpu"]) == ("10s", "400m")
    assert (await rest.get(f"{PODS}/web"))["containers"][0]["usage"]["cpu"] == "200m"
    await cluster.advance(10)
    measured.cpu = 5
    found = await rest.get(f"{NODES}/n1")
    assert (found["window"], found["usage"]["cpu"]) == ("500ms", "250m")


async def test_rates_do_not_depend_on_a_clock_that_was_set(rest: Rest, cluster: Cluster) -> None:
    """The agent's own window counts then."""
    measured = Statistics(cluster)
    rest.router.stats["n1"] = measured
    await rest.get(f"{NODES}/n1")
    await cluster.advance(10)
    cluster.clock.step(20)
    measured.cpu += 4_000_000_000
    assert (await rest.get(f"{NODES}/n1"))["window"] == "500ms"


@pytest.mark.parametrize("away", [False, True])
async def test_a_node_that_does_not_answer_is_left_out(rest: Rest, away: bool) -> None:
    """Within the deadline, and without a second question soon; its pods are left out too."""
    if away:
        del rest.router.stats["n2"]
    else:
        rest.router.stats["n2"] = None
    async with asyncio.timeout(5):
        assert names(await rest.get(NODES)) == ["n1"]
        assert names(await rest.get(f"{BASE}/pods")) == ["web"]
    assert (await rest.ask("GET", f"{NODES}/n2"))[0] == 404
    assert asked(rest) == ["n1", "n2"]
    assert rest.router.open == 0


async def test_more_silent_nodes_than_are_asked_at_once(rest: Rest, cluster: Cluster) -> None:
    """The whole answer has one deadline, and the next one is about a node that answers as if there were no others."""
    for number in range(AT_ONCE * 2):
        await cluster.join(f"silent-{number}")
        rest.router.stats[f"silent-{number}"] = None
    async with asyncio.timeout(5):
        await rest.get(NODES)
        assert names(await rest.get(f"{NODES}?fieldSelector=metadata.name%3Dn1")) == ["n1"]
    assert rest.router.open == 0


async def test_numbers_of_a_node_saturate(rest: Rest) -> None:
    """A node can send any number of 64 bits."""
    most = (1 << 64) - 1
    rest.router.stats["n1"] = lambda: streams_pb2.NodeStats(
        timeNanos=(1 << 63) - 1, cpuNanoCores=most, memoryWorkingSetBytes=most
    )
    found = await rest.get(f"{NODES}/n1")
    assert found["usage"] == {"cpu": f"{(1 << 63) - 1}n", "memory": str((1 << 63) - 1)}
    assert (await rest.get(f"{NODES}/n1", accept=TABLE))["rows"][0]["cells"][0] == "n1"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_metrics_are_read_alone(rest: Rest, method: str) -> None:
    """Nor are they watched."""
    for path in (f"{PODS}/web", PODS, f"{NODES}/n1"):
        assert (await rest.ask(method, path, {}))[0] == 405, path
    assert (await rest.ask("GET", f"{PODS}?watch=1"))[0] == 405


async def test_the_view_role_has_metrics_of_its_namespace(rest: Rest) -> None:
    """As metrics-server's aggregated role. Without a role there are none, nor is a node asked."""
    rest.anonymous()
    status, found = await rest.ask("GET", PODS, authorization=ALICE)
    assert (status, found["message"]) == (403, (
        'pods.metrics.k8s.io is forbidden: User "alice" cannot list resource "pods" in API group "metrics.k8s.io" '
        'in the namespace "default"'))  # fmt: skip
    assert asked(rest) == []
    rest.anonymous(False)
    body = {
        "metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
    }  # fmt: skip
    assert (await rest.ask("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", body))[0] == 201
    rest.anonymous()
    assert names(await rest.get(PODS, authorization=ALICE)) == ["web"]
    for path in (f"{BASE}/pods", NODES):
        assert (await rest.ask("GET", path, authorization=ALICE))[0] == 403


async def test_discovery_and_openapi(rest: Rest) -> None:
    """Clients find both resources, with their verbs and schemas."""
    found = await rest.get(BASE)
    assert {item["name"]: (item["kind"], item["namespaced"], item["verbs"]) for item in found["resources"]} == {
        "nodes": ("NodeMetrics", False, ["get", "list"]), "pods": ("PodMetrics", True, ["get", "list"]),
    }  # fmt: skip
    document = await rest.get(f"/openapi/v3{BASE}")
    assert {f"{BASE}/nodes/{{name}}", f"{BASE}/namespaces/{{namespace}}/pods"} <= document["paths"].keys()
    assert document["paths"][NODES].keys() == {"get"}
    schemas = document["components"]["schemas"]
    node = schemas["io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics"]
    assert node["properties"]["window"]["type"] == "string"
    assert node["x-kubernetes-group-version-kind"] == [{"group": "metrics.k8s.io", "version": "v1beta1", "kind": "NodeMetrics"}]
