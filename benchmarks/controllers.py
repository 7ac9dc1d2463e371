"""Workloads on 100 simulated nodes: a Deployment of 1,000 pods, its rolling update, a namespace with 5,000 objects; and, with root,
a Deployment of 50 pods on three real nodes of a lab. One JSON object; durations in seconds, from the request to the state.

`cpu_ms_per_pod` is processor time of the control plane for each of the 1,000 pods, from creation to Ready. Usage: controllers.py
[--simulated]: without the lab.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scale import cpu_seconds, free_port, process, wait_for
from support import client, lab

from cli.client import ref
from pinnace import kinds
from pinnace.api.v1 import objects_pb2

NODES, PODS, OBJECTS, REAL = 100, 1000, 5000, 50
# Objects of one Apply.
PORTION = 100


def deployment(name: str, replicas: int, image: str, namespace: str = "default") -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "main", "image": image, "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"]}
    spec = {
        "replicas": replicas, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], "automountServiceAccountToken": False}},
    }  # fmt: skip
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def apply(connection: Any, *manifests: dict[str, Any]) -> None:
    request = objects_pb2.ApplyRequest(namespace="default", fieldManager="bench")
    for item in manifests:
        request.objects.add(apiVersion=item["apiVersion"], kind=item["kind"], json=json.dumps(item).encode())
    for result in connection.call(connection.objects.Apply, request, timeout=120).results:
        if result.HasField("error"):
            raise SystemExit(result.error.message)


def is_rolled_out(connection: Any, name: str, replicas: int) -> bool:
    item = connection.get(kinds.DEPLOYMENT, "default", name)
    status = item.status
    counts = status.updatedReplicas, status.availableReplicas, status.replicas
    return bool(status.observedGeneration >= item.metadata.generation and counts == (replicas, replicas, replicas))


def timed(what: str, act: Callable[[], object], done: Callable[[], bool]) -> float:
    began = time.monotonic()
    act()
    wait_for(what, done)
    return round(time.monotonic() - began, 2)


def simulated(directory: Path) -> dict[str, Any]:
    state, port, web = directory / "control", free_port(), free_port()
    config, log = state / "admin.yaml", directory / "control.log"
    state.mkdir(mode=0o700)
    arguments = ["--state-dir", str(state), "--listen", f"127.0.0.1:{port}", "--web", f"127.0.0.1:{web}"]
    with process(log, "controlplane", *arguments, "--advertise", "127.0.0.1") as plane:
        wait_for("the control plane serves", lambda: "serving" in log.read_text(), process=plane)
        command = ("nodeagent.simulated", "--config", str(config), "--nodes", str(NODES))
        with process(directory / "simnodes.log", *command):
            connection = client(config)
            wait_for("all nodes are Ready", lambda: _ready_nodes(connection) >= NODES)
            return _workloads(connection, plane.pid)


def _ready_nodes(connection: Any) -> int:
    nodes = connection.list(kinds.NODE, "")
    return sum(any(c.type == "Ready" and c.status == "True" for c in node.status.conditions) for node in nodes)


def _workloads(connection: Any, pid: int) -> dict[str, Any]:
    before = cpu_seconds(pid)
    result: dict[str, Any] = {
        "thousand_pods_ready_s": timed(
            "1,000 pods are Ready",
            lambda: apply(connection, deployment("many", PODS, "busybox")),
            lambda: is_rolled_out(connection, "many", PODS),
        )
    }
    result["cpu_ms_per_pod"] = round((cpu_seconds(pid) - before) / PODS * 1000, 2)
    result["rolling_update_s"] = timed(
        "the update has ended",
        lambda: apply(connection, deployment("many", PODS, "busybox:2")),
        lambda: is_rolled_out(connection, "many", PODS),
    )
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "crowded"}}
    apply(connection, namespace)
    for start in range(0, OBJECTS, PORTION):
        meta = [{"name": f"c{number}", "namespace": "crowded"} for number in range(start, start + PORTION)]
        apply(connection, *({"apiVersion": "v1", "kind": "ConfigMap", "metadata": item, "data": {"a": "b"}} for item in meta))
    request = objects_pb2.DeleteRequest(ref=ref(kinds.NAMESPACE, "", "crowded"))
    result["namespace_5000_deleted_s"] = timed(
        "the namespace is gone",
        lambda: connection.call(connection.objects.Delete, request),
        lambda: all(item.metadata.name != "crowded" for item in connection.list(kinds.NAMESPACE, "")),
    )
    return result


def real() -> dict[str, Any]:
    """On three nodes of a lab: real pods."""
    with lab("bench-work", 3) as (config, _):
        connection = client(config)
        return {
            "deployment_50_ready_s": timed(
                "50 pods are Ready",
                lambda: apply(connection, deployment("real", REAL, "busybox")),
                lambda: is_rolled_out(connection, "real", REAL),
            ),
            "rollout_50_s": timed(
                "the rollout has ended",
                lambda: apply(connection, deployment("real", REAL, "busybox:latest")),
                lambda: is_rolled_out(connection, "real", REAL),
            ),
        }


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        result = simulated(Path(directory))
    if "--simulated" not in sys.argv[1:]:
        result |= real()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
