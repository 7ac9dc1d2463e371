"""TCP pod to pod across nodes: the overlay, a VXLAN device made by hand between the same pods, and the raw underlay, in one run.

The three take turns in each round, so that other load on the machine hits them alike; a ratio is the median of the rounds' ratios.
The device made by hand leads from pod to pod without a bridge, routes, translation or policies: it is the least that VXLAN costs.
Services and policies are applied first, as far as the API serves them; the result counts those that are there.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import netload
from support import DEADLINE, client, kctl, lab, start_pods

ROUNDS = 15
# Seconds of one transfer, and requests on one connection.
TRANSFER, REQUESTS = 0.5, 2000
SERVICES, POLICIES = 100, 100
# VNI, port, MTU and addresses of the device made by hand.
VNI, PORT, MTU = 777, 4790, 1450
BY_HAND = ("192.168.77.1", "192.168.77.2")
NODES = ("node-1", "node-2")
PODS = ("bench-1", "bench-2")


@dataclass
class Way:
    """A path between two namespaces, and its rates (Gbit/s) and latencies (µs) by round."""

    source: Path
    target: Path
    address: str
    one: list[float] = field(default_factory=list)
    eight: list[float] = field(default_factory=list)
    latency: list[float] = field(default_factory=list)

    def measure(self, server: netload.Server) -> None:
        self.one.append(netload.throughput(self.source, server, streams=1, seconds=TRANSFER))
        self.eight.append(netload.throughput(self.source, server, streams=8, seconds=TRANSFER))
        self.latency.append(statistics.median(netload.latencies(self.source, server, requests=REQUESTS)))


def ip(namespace: Path, *words: str) -> str:
    command = ["nsenter", f"--net={namespace}", "ip", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=DEADLINE).stdout


def make_by_hand(hosts: list[Path], pods: list[Path], underlay: list[str]) -> None:
    """A VXLAN device in each pod, whose encapsulated packets are sent by the pod's node."""
    for host, pod, here, there, address in zip(hosts, pods, underlay, reversed(underlay), BY_HAND, strict=True):
        details = ["id", str(VNI), "local", here, "remote", there, "dstport", str(PORT), "dev", "eth0"]
        ip(host, "link", "add", "hand0", "type", "vxlan", *details)
        ip(host, "link", "set", "hand0", "netns", pod.parts[2])
        ip(pod, "address", "add", f"{address}/24", "dev", "hand0")
        ip(pod, "link", "set", "hand0", "mtu", str(MTU), "up")


def service(number: int) -> dict[str, Any]:
    spec = {"selector": {"bench": "yes"}, "ports": [{"port": 80, "targetPort": 10000 + number}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"bench-{number}"}, "spec": spec}


def policy(number: int) -> dict[str, Any]:
    """Of both directions for the measured pods; only the last of them lets the traffic pass."""
    labels = {"bench": "yes"} if number == POLICIES - 1 else {"bench": f"no-{number}"}
    peers = [{"podSelector": {"matchLabels": labels}}]
    spec = {
        "podSelector": {"matchLabels": {"bench": "yes"}}, "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": peers}], "egress": [{"to": peers}],
    }  # fmt: skip
    metadata = {"name": f"bench-{number:03}"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def populate(config: Path) -> dict[str, int]:
    """Apply Services and policies of the kinds that the API serves; how many of each there are then."""
    served = kctl(config, "api-resources")
    kinds = {"services": [service(n) for n in range(SERVICES)], "networkpolicies": [policy(n) for n in range(POLICIES)]}
    found = {}
    for resource, items in kinds.items():
        found[resource] = 0
        if any(line.startswith(f"{resource} ") for line in served.splitlines()):
            kctl(config, "apply", "-f", "-", stdin="\n---\n".join(map(json.dumps, items)))
            names = kctl(config, "get", resource, "-o", "name").split()
            found[resource] = sum("/bench-" in name for name in names)
    return found


@contextlib.contextmanager
def paths(config: Path, record: Any) -> Iterator[dict[str, Way]]:
    connection = client(config)
    for name, node in zip(PODS, NODES, strict=True):
        start_pods(connection, [name], nodeName=node)
    items = {item["metadata"]["name"]: item for item in json.loads(kctl(config, "get", "pods", "-o", "json"))["items"]}
    hosts = [record.namespace(node, "net") for node in NODES]
    pods = [Path(f"/proc/{pid_of(record, items[name])}/ns/net") for name in PODS]
    underlay = [record.address(node) for node in NODES]
    make_by_hand(hosts, pods, underlay)
    yield {
        "overlay": Way(pods[0], pods[1], items[PODS[1]]["status"]["podIP"]),
        "by_hand": Way(pods[0], pods[1], BY_HAND[1]),
        "underlay": Way(hosts[0], hosts[1], underlay[1]),
    }


def pid_of(record: Any, item: dict[str, Any]) -> int:
    pods = record.node_dir(item["spec"]["nodeName"]) / "pods"
    state = pods / item["metadata"]["uid"] / "containers/main/0/state.json"
    return int(json.loads(state.read_text())["pid"])


def ratio(of: list[float], to: list[float]) -> float:
    return round(statistics.median(one / other for one, other in zip(of, to, strict=True)), 3)


def main() -> None:
    with lab("bench-overlay", 2) as (config, record), paths(config, record) as ways, contextlib.ExitStack() as stack:
        present = populate(config)
        servers = {name: stack.enter_context(netload.server(way.target, way.address)) for name, way in ways.items()}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                way.measure(servers[name])
    overlay, by_hand, underlay = (ways[name] for name in ("overlay", "by_hand", "underlay"))
    result: dict[str, Any] = {
        "throughput_ratio": ratio(overlay.one, by_hand.one),
        "throughput_ratio_8": ratio(overlay.eight, by_hand.eight),
        "latency_ratio": ratio(overlay.latency, underlay.latency),
        "underlay_ratio": ratio(overlay.one, underlay.one),
        "by_hand_underlay_ratio": ratio(by_hand.one, underlay.one),
        "by_hand_latency_ratio": ratio(by_hand.latency, underlay.latency),
    }
    for name, way in ways.items():
        result[f"{name}_gbps"] = round(statistics.median(way.one), 2)
        result[f"{name}_8_gbps"] = round(statistics.median(way.eight), 2)
        result[f"{name}_latency_us"] = round(statistics.median(way.latency), 1)
    print(json.dumps(result | present))


if __name__ == "__main__":
    main()
