"""NetworkPolicies on one node: time to program 1,000 of them, what a change costs then, and the latency that they add.

In a lab of one node with 40 pods in five namespaces, until the transaction after which the node's nftables has all policies:
`agent_1000_policies_ms` if they wait for an agent that was stopped, from when it continues: session, agent and kernel;
`apply_1000_policies_ms` from the first `Apply`, of 100 policies each, and `accept_1000_policies_ms` of that until the API has accepted
the last one. In another lab, `first_pods_1000_policies_ms`: from the `Apply` of the node's first pods, in a namespace that has 1,000
policies. Only the number of the table's generation is read meanwhile.

The rest is without a lab. As an agent does it, from the API's messages to the kernel: 20 namespaces, 50 pods of the node and 500 in the
cluster. `same_pods`: the same number of policies that all select all 20 pods of one namespace. Then one more policy, member and pod, and
all policies deleted. Latency: requests of 64 bytes between two pods of the node, which a router connects, with no policy, and with many
that all select the server, the last of which allows the client.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import checkout  # noqa: F401
import netload
from support import DEADLINE, client, kctl, lab, manifest

from nodeagent.linux.namespaces import visiting
from nodeagent.network import nftcheck, nftread
from nodeagent.network.elements import Difference
from nodeagent.network.nlsocket import NetlinkSocket
from nodeagent.network.policies import reader
from nodeagent.network.policies.compiler import Changes, Compiler
from nodeagent.network.policies.model import Pod
from pinnace import codec, kinds
from pinnace.api.v1 import objects_pb2
from pinnace.networking.v1.networkpolicy_pb2 import NetworkPolicy
from pinnace.policypeers import groups_of
from tests.support.policynets import Router, routing

POLICIES, ROUNDS, REQUESTS = 1000, 15, 2000
# Objects of one `Apply`; seconds between two readings of the node's generation, and without another one before its table is listed.
AT_ONCE, POLL, QUIET = 100, 0.005, 0.3
CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
Messages = dict[tuple[str, str], NetworkPolicy]


class Cluster:
    """Pods with one of `apps` labels each, in `spaces` namespaces; the first `local` are on the node."""

    def __init__(self, *, spaces: int, local: int, pods: int, apps: int = 20) -> None:
        self.spaces, self.apps = spaces, apps
        self.pods = {
            str(i): Pod(f"ns{i % spaces}", {"app": f"a{i // spaces % apps}"}, (f"10.244.{i // 250}.{i % 250 + 2}",))
            for i in range(pods)
        }
        self.local = {uid: pod for uid, pod in self.pods.items() if int(uid) < local}

    def policies(self, count: int, *, same: bool) -> Messages:
        """Each with a group of pods, a namespace and a range of addresses, of which few are alike."""
        found = [self._policy(number, same=same) for number in range(count)]
        return {(item.metadata.namespace, item.metadata.name): item for item in found}

    def _policy(self, number: int, *, same: bool) -> NetworkPolicy:
        app = {"matchLabels": {"app": f"a{number * 7 % self.apps}"}}
        other = {"matchLabels": {"kubernetes.io/metadata.name": f"ns{number * 3 % self.spaces}"}}
        spec = {
            "podSelector": {} if same else {"matchLabels": {"app": f"a{number // self.spaces % self.apps}"}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"podSelector": app}, {"namespaceSelector": other}], "ports": [{"port": 1 + number}]}],
            "egress": [
                {"to": [{"ipBlock": {"cidr": f"20.{number % 256}.0.0/16"}}], "ports": [{"port": 443}]},
                {"to": [{"podSelector": {}}]},
            ],
        }
        return policy(f"ns{number % self.spaces}", f"p{number}", spec)

    def slices(self, messages: Messages) -> Any:
        selectors: dict[str, Any] = {}
        for message in messages.values():
            selectors |= groups_of(message)
        return {f"{name}.0": dict(self._members(selector)) for name, selector in selectors.items()}

    def _members(self, selector: Any) -> Iterator[tuple[str, Any]]:
        for pod in self.pods.values():
            labels = {"kubernetes.io/metadata.name": pod.namespace}
            if selector.selects_namespace(pod.namespace, labels) and selector.selects_labels(pod.labels):
                yield pod.addresses[0], pod.ports


def policy(namespace: str, name: str, spec: object) -> NetworkPolicy:
    return codec.decode(NetworkPolicy, {"metadata": {"namespace": namespace, "name": name}, "spec": spec})


def milliseconds(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)


def programmed(router: Router, cluster: Cluster, *, same: bool) -> dict[str, float]:
    """The median of three runs."""
    runs = [_programmed(router, cluster, same=same) for _ in range(3)]
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _programmed(router: Router, cluster: Cluster, *, same: bool) -> dict[str, float]:
    messages = cluster.policies(POLICIES, same=same)
    slices = cluster.slices(messages)
    key, last = messages.popitem()
    compiler = Compiler()

    def timed(changes: Changes) -> float:
        began = time.perf_counter()
        router.apply(compiler.change(changes))
        return milliseconds(began)

    began = time.perf_counter()
    read = {found: reader.policy(message) for found, message in messages.items()}
    router.apply(compiler.change(Changes(read, slices, cluster.local)))
    found = {"program_1000_ms": milliseconds(began)}
    found["elements"] = len(compiler.elements())
    found["policy_ms"] = timed(Changes({key: reader.policy(last)}))
    # Another pod like one that is there.
    like = cluster.pods["0"].addresses[0]
    joined = {name: {**members, "10.245.0.1": ()} for name, members in slices.items() if like in members}
    found["member_ms"] = timed(Changes(slices=joined))
    uid, pod = next(iter(cluster.local.items()))
    found["pod_ms"] = timed(Changes(pods={"new": replace(pod, addresses=("10.246.0.1",)), uid: pod}))
    found["delete_1000_ms"] = timed(Changes(dict.fromkeys([*read, key])))
    return found


def added_latency(router: Router) -> dict[str, float]:
    """In µs; the states take turns in each round, so that other load on the machine hits them alike."""
    counts = (0, 1, 100, 1000)
    changes = {count: _allowing(count) for count in counts}
    found: dict[int, list[float]] = {count: [] for count in counts}
    with netload.server(router.pods["server"], SERVER) as server:
        for _ in range(ROUNDS):
            for count, change in changes.items():
                router.apply(change)
                found[count].append(statistics.median(netload.latencies(router.pods["client"], server, requests=REQUESTS)))
                router.apply(Difference(remove=change.add))
    result = {f"latency_us_at_{count}": round(statistics.median(rounds), 1) for count, rounds in found.items()}
    for count in counts[1:]:
        added = [one - none for one, none in zip(found[count], found[0], strict=True)]
        result[f"added_us_at_{count}"] = round(statistics.median(added), 1)
    return result


def _allowing(count: int) -> Difference:
    """Policies that select the server, each for a client of its own; the real client is the last one's."""
    if not count:
        return Difference()
    peers = [f"10.1.{number // 250}.{number % 250}/32" for number in range(count - 1)] + [f"{CLIENT}/32"]
    specs = [
        {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"ipBlock": {"cidr": peer}}]}]} for peer in peers
    ]
    read = {("x", f"p{number}"): reader.policy(policy("x", f"p{number}", spec)) for number, spec in enumerate(specs)}
    return Compiler().change(Changes(read, {}, {"server": Pod("x", {}, (SERVER,))}))


class Node:
    """A lab's node with pods as those of `cluster`."""

    def __init__(self, config: Path, record: Any, cluster: Cluster) -> None:
        self._config, self._connection, self._cluster = config, client(config), cluster
        self._namespace, self._agent = record.namespace("node-1", "net"), record.processes["node-1"].pid

    def start(self) -> None:
        self._make_namespaces()
        self._make_pods()
        wait(lambda: self._ready() == len(self._cluster.pods))

    def _make_namespaces(self) -> None:
        names = (f"ns{number}" for number in range(self._cluster.spaces))
        self._apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names])

    def _make_pods(self) -> None:
        self._apply([self._pod(uid, pod) for uid, pod in self._cluster.pods.items()])

    def _pod(self, uid: str, pod: Pod) -> dict[str, Any]:
        found = manifest(f"bench-{uid}", nodeName="node-1")
        found["metadata"] |= {"namespace": pod.namespace, "labels": dict(pod.labels)}
        return found

    def _ready(self) -> int:
        pods = self._connection.list(kinds.POD, "")
        return sum(any(item.type == "Ready" and item.status == "True" for item in pod.status.conditions) for pod in pods)

    def _apply(self, items: Sequence[dict[str, Any]]) -> None:
        for start in range(0, len(items), AT_ONCE):
            request = objects_pb2.ApplyRequest(namespace="default", fieldManager="bench")
            for item in items[start : start + AT_ONCE]:
                request.objects.add(apiVersion=item["apiVersion"], kind=item["kind"], json=json.dumps(item).encode())
            for result in self._connection.call(self._connection.objects.Apply, request).results:
                if result.HasField("error"):
                    raise SystemExit(result.error.message)

    def waiting(self, messages: Messages) -> dict[str, float]:
        """Milliseconds until the kernel has policies that the API has accepted while the agent was stopped."""
        os.kill(self._agent, signal.SIGSTOP)
        try:
            self._apply([*manifests(messages)])
        finally:
            began = time.perf_counter()
            os.kill(self._agent, signal.SIGCONT)
        return {"agent_1000_policies_ms": self._programmed(ports(messages), began)}

    def first_pods(self, messages: Messages) -> dict[str, float]:
        """Milliseconds from the `Apply` of pods until the kernel has the policies of their namespaces."""
        self._make_namespaces()
        self._apply([*manifests(messages)])
        began = time.perf_counter()
        self._make_pods()
        return {"first_pods_1000_policies_ms": self._programmed(ports(messages), began)}

    def applied(self, messages: Messages) -> dict[str, float]:
        """Milliseconds from the first `Apply` until the kernel has policies, and until the API has accepted the last."""
        found: dict[str, float] = {}
        began = time.perf_counter()

        def watch() -> None:
            found["apply_1000_policies_ms"] = self._programmed(ports(messages), began)

        watcher = threading.Thread(target=watch)
        watcher.start()
        self._apply([*manifests(messages)])
        found["accept_1000_policies_ms"] = milliseconds(began)
        watcher.join()
        return found

    def delete(self) -> None:
        """All policies."""
        for space in range(self._cluster.spaces):
            kctl(self._config, "delete", "networkpolicies", "--all", "-n", f"ns{space}")
        wait(lambda: not self._ports())

    def _programmed(self, wanted: set[int], began: float) -> float:
        """Milliseconds from `began` to the transaction after which the kernel has these ports."""
        with visiting(self._namespace):
            kernel = NetlinkSocket(nftread.NETFILTER)
        last, changed = -1, 0.0
        with kernel:
            while time.perf_counter() - began < DEADLINE:
                now, number = time.perf_counter(), nftcheck.generation(kernel)
                if number != last:
                    last, changed = number, now
                elif changed and now - changed > QUIET:
                    if self._ports() >= wanted:
                        return round((changed - began) * 1000, 1)
                    changed = 0.0
                time.sleep(POLL)
        raise SystemExit("the node's policies are not there")

    def _ports(self) -> set[int]:
        command = ["nsenter", f"--net={self._namespace}", "nft", "-j", "list", "set", "inet", "pinnace", "policy_in_1_4"]
        listed = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE).stdout)
        elements = next(item["set"].get("elem", []) for item in listed["nftables"] if "set" in item)
        return {int(item["concat"][-1]) for item in elements}


def manifests(messages: Messages) -> Iterator[dict[str, Any]]:
    for item in messages.values():
        yield {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", **codec.encode(item)}


def ports(messages: Messages) -> set[int]:
    """One of each policy's own."""
    return {item.spec.ingress[0].ports[0].port.intVal for item in messages.values()}


def wait(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not check():
        if time.monotonic() > deadline:
            raise SystemExit("the node's pods or policies are not there")
        time.sleep(QUIET)


def through_an_agent() -> dict[str, float]:
    cluster = Cluster(spaces=5, local=40, pods=40, apps=8)
    with lab("bench-policies", 1) as (config, record):
        node, messages = Node(config, record, cluster), cluster.policies(POLICIES, same=False)
        node.start()
        found = node.waiting(messages)
        node.delete()
        found |= node.applied(messages)
    cluster = Cluster(spaces=1, local=8, pods=8, apps=8)
    with lab("bench-policies", 1) as (config, record):
        return found | Node(config, record, cluster).first_pods(cluster.policies(POLICIES, same=False))


def main() -> None:
    with routing({"client": [CLIENT], "server": [SERVER]}) as router:
        many = Cluster(spaces=20, local=50, pods=500)
        few = Cluster(spaces=1, local=20, pods=300)
        result: dict[str, Any] = programmed(router, many, same=False)
        result["same_pods"] = programmed(router, few, same=True)
        result |= added_latency(router)
    result |= through_an_agent()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
