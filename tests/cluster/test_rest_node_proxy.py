"""The proxy of a node: documents of the kubelet's API, made from what the node's agent measures, lists and reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pinnace.api.v1 import streams_pb2
from tests.support import access, objects
from tests.support.cluster import Cluster
from tests.support.rest import Rest

NODE = "/api/v1/nodes/n1/proxy"
Frame = streams_pb2.Frame


def stats() -> streams_pb2.NodeStats:
    found = streams_pb2.NodeStats(
        node="n1", timeNanos=1_600_000_000_000_000_000, cpuNanos=5_000_000_000, cpuNanoCores=7, memoryWorkingSetBytes=11,
        memoryUsageBytes=13,
    )  # fmt: skip
    pod = found.pods.add(namespace="default", name="web", uid="u1")
    pod.interfaces.add(name="eth0", receiveBytes=1, transmitBytes=2)
    for name, factor in (("main", 1), ("side", 2)):
        pod.containers.add(
            name=name, cpuNanos=1_000_000_000 * factor, cpuNanoCores=10 * factor, memoryUsageBytes=100 * factor,
            memoryWorkingSetBytes=50 * factor, memoryRssBytes=20 * factor, memoryLimitBytes=80, processes=factor,
            fsUsageBytes=4096, fsInodes=3, startedNanos=1_500_000_000_000_000_000,
        )  # fmt: skip
    return found


@pytest.fixture
async def rest(cluster: Cluster) -> Rest:
    for name in ("n1", "n2"):
        await cluster.create(objects.node(name))
    pod = await cluster.create(objects.pod("web", "main", "side", nodeName="n1"))
    pod.status.phase = "Running"
    pod.status.containerStatuses.add(name="main").state.running.SetInParent()
    pod.status.containerStatuses.add(name="side").state.terminated.SetInParent()
    made = Rest(cluster)
    made.router.stats = {"n1": stats}
    made.router.pods = {"n1": [pod]}
    made.router.networks = {"n1": streams_pb2.NetworkReport(repairs={"route": 3}, fastPathPackets={"forwarded": 4})}
    return made


async def test_an_agent_that_answers_is_healthy(rest: Rest) -> None:
    """One that is not connected is unavailable."""
    for path in ("healthz", "healthz/ping", "healthz/"):
        assert await rest.text("GET", f"{NODE}/{path}") == (200, b"ok")
    status, found = await rest.ask("GET", "/api/v1/nodes/n2/proxy/healthz")
    assert (status, found["reason"]) == (503, "ServiceUnavailable")
    assert "n2 is not connected" in found["message"]


async def test_the_summary_is_the_kubelets(rest: Rest) -> None:
    """Of the node, of pods as the sum of their containers, and of containers."""
    found = await rest.get(f"{NODE}/stats/summary")
    node, [pod] = found["node"], found["pods"]
    assert node == {
        "nodeName": "n1", "cpu": {"time": "2020-09-13T12:26:40Z", "usageNanoCores": 7, "usageCoreNanoSeconds": 5_000_000_000},
        "memory": {"time": "2020-09-13T12:26:40Z", "usageBytes": 13, "workingSetBytes": 11},
    }  # fmt: skip
    assert pod["podRef"] == {"name": "web", "namespace": "default", "uid": "u1"}
    assert (pod["cpu"]["usageNanoCores"], pod["memory"]["workingSetBytes"], pod["process_stats"]["process_count"]) == (
        30,
        150,
        3,
    )
    assert (pod["network"]["name"], pod["network"]["rxBytes"], pod["network"]["interfaces"][0]["txBytes"]) == ("eth0", 1, 2)
    main, side = pod["containers"]
    assert (main["name"], main["memory"]["availableBytes"], main["startTime"]) == ("main", 30, "2017-07-14T02:40:00Z")
    assert (side["name"], side["memory"]["availableBytes"]) == ("side", 0)
    assert main["rootfs"] == {"time": "2020-09-13T12:26:40Z", "usedBytes": 4096, "inodesUsed": 3}
    short = await rest.get(f"{NODE}/stats/summary?only_cpu_and_memory=true")
    assert "rootfs" not in short["pods"][0]["containers"][0]


async def test_metrics_are_prometheus_text(rest: Rest) -> None:
    """The kubelet's names."""
    for path, lines in (
        ("metrics/resource", (
            'container_cpu_usage_seconds_total{container="side",namespace="default",pod="web"} 2.0 1600000000000',
            'pod_memory_working_set_bytes{namespace="default",pod="web"} 150.0 1600000000000',
            "node_cpu_usage_seconds_total 5.0 1600000000000", "scrape_error 0.0",
        )),
        ("metrics/cadvisor", (
            'container_memory_rss{container="main",namespace="default",node="n1",pod="web"} 20.0',
            'pinnace_node_stats_up{node="n1"} 1.0',
        )),
        ("metrics/dns", ("pinnace_dns_cache_hits_total 7",)),
        ("metrics", (
            'kubelet_node_name{node="n1"} 1.0', "kubelet_running_pods 1.0",
            'kubelet_running_containers{container_state="running"} 1.0',
            'kubelet_running_containers{container_state="exited"} 1.0',
            'pinnace_network_repairs_total{kind="tunnel"} 0.0', 'pinnace_network_repairs_total{kind="balancer"} 0.0',
            'pinnace_network_repairs_total{kind="route"} 3.0', 'pinnace_network_repairs_total{kind="nft"} 0.0',
            'pinnace_network_fast_path_packets_total{result="forwarded"} 4.0',
            'pinnace_network_fast_path_packets_total{result="passed"} 0.0',
        )),
    ):  # fmt: skip
        status, text = await rest.text("GET", f"{NODE}/{path}")
        assert status == 200
        assert not set(lines) - set(text.decode().splitlines()), text.decode()


async def test_pods_are_those_of_the_agent(rest: Rest) -> None:
    """With its own word on their status."""
    for path in ("pods", "pods/"):
        found = await rest.get(f"{NODE}/{path}")
        [pod] = found["items"]
        assert (found["kind"], pod["metadata"]["name"], pod["status"]["phase"]) == ("PodList", "web", "Running")


async def test_logs_of_containers_on_the_node(rest: Rest) -> None:
    """With the parameters of pods/log, and of no pod of another node."""
    rest.router.logs = [Frame(stdout=b"one\n"), Frame(stdout=b"two\n")]
    assert await rest.text("GET", f"{NODE}/containerLogs/default/web/side?tailLines=2") == (200, b"one\ntwo\n")
    node, opening = rest.router.openings[-1]
    assert (node, opening.pod, opening.container, opening.logs.tailLines) == ("n1", "web", "side", 2)
    for path in ("n2/proxy/containerLogs/default/web/side", "n1/proxy/containerLogs/default/gone/main"):
        status, found = await rest.ask("GET", f"/api/v1/nodes/{path}")
        assert (status, found["reason"]) == (404, "NotFound")
    assert rest.router.open == 0


@pytest.mark.parametrize("path", [
    "", "/", "/exec/default/web/main", "/run/default/web/main", "/attach/default/web/main", "/portForward/default/web",
    "/logs/syslog", "/configz", "/debug/pprof/", "/checkpoint/default/web/main", "/healthz/../pods", "/pods%2F..", "//pods/x",
])  # fmt: skip
async def test_nothing_else_is_there(rest: Rest, path: str) -> None:
    """Nothing that runs commands, and no file of the host."""
    assert await rest.text("GET", NODE + path) == (404, b"404 page not found\n")
    assert rest.router.openings == []


async def test_only_reads_of_the_agent_itself(rest: Rest) -> None:
    """No other method, and no other port of the node."""
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        status, found = await rest.ask(method, f"{NODE}/pods")
        assert (status, found["reason"]) == (405, "MethodNotAllowed")
    assert await rest.text("GET", "/api/v1/nodes/https:n1:10250/proxy/healthz") == (200, b"ok")
    for name, code in (("n1:22", 400), ("n1:10255", 400), ("ftp:n1:10250", 400), ("n9", 404)):
        status, _ = await rest.ask("GET", f"/api/v1/nodes/{name}/proxy/healthz")
        assert (name, status) == (name, code)


async def test_rights_to_the_proxies_are_rights_of_their_own(rest: Rest, cluster: Cluster) -> None:
    """The verb is that of the method, and the name the whole one, scheme and port included."""
    await cluster.create(access.cluster_role("objects", access.rule("*", "pods nodes nodes/status")))
    await cluster.create(access.cluster_role_binding("objects", "objects", "User:jane"))
    await cluster.create(access.role("one", access.rule("get", "pods/proxy", names="http:web:80")))
    await cluster.create(access.role_binding("one", "Role/one", "User:jane"))
    jane = Rest(cluster, access.user("jane"))
    pods = "/api/v1/namespaces/default/pods"
    for method, path, allowed in (
        ("HEAD", f"{pods}/http:web:80/proxy", True), ("GET", f"{pods}/http:web:80/proxy", True),
        ("OPTIONS", f"{pods}/http:web:80/pro%78y/x", True), ("POST", f"{pods}/http:web:80/proxy/x", False),
        ("GET", f"{pods}/web:80/proxy/", False), ("GET", f"{pods}/web/proxy/x", False), ("GET", f"{pods}/web/pro%78y/x", False),
        ("GET", f"{NODE}/pods", False), ("PURGE", f"{pods}/http:web:80/proxy/x", False),
    ):  # fmt: skip
        answer = await jane.respond(method, path)
        assert (method, path, answer.status != 403) == (method, path, allowed)


async def test_discovery_has_the_subresources(rest: Rest) -> None:
    """With Kubernetes' kinds."""
    found: dict[str, Any] = {item["name"]: item for item in (await rest.get("/api/v1"))["resources"]}
    verbs = ["create", "delete", "get", "patch", "update"]
    for name, kind in (("pods/proxy", "PodProxyOptions"), ("nodes/proxy", "NodeProxyOptions")):
        assert (found[name]["kind"], found[name]["verbs"]) == (kind, verbs)
    assert json.dumps(found["nodes/proxy"]["namespaced"]) == "false"
