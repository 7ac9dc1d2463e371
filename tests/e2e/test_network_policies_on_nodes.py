"""NetworkPolicies in the life of a node: running connections, probes, pods that start, an agent that starts again, and the outside."""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.frames import within
from tests.support.labs import LabUnderTest, eventually, pod, running
from tests.support.policymatrix import policy
from tests.support.prober import TCP, UDP, Probe, Prober
from tests.support.transfers import DOWN, UP, transfer

pytestmark = pytest.mark.root
CLIENT, NEAR, FAR, WEB, SERVING = "client", "near", "far", "web", "serving"
NODES = {CLIENT: "node-1", NEAR: "node-1", FAR: "node-2", WEB: "node-2"}
HOST_PORT, SERVICE_PORT, HTTP = 8088, 8000, 9090
# The labels of a client that a policy admits.
FRIEND = {"podSelector": {"matchLabels": {"app": CLIENT}}}


class Place:
    """A lab of two nodes: a client, a server on its node and two on the other one, one of them at a port of the node."""

    def __init__(self, lab: LabUnderTest) -> None:
        self.lab = lab
        manifests = [labelled(pod(name, nodeName=node)) for name, node in NODES.items()]
        manifests[-1]["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": HOST_PORT}]
        serving = labelled(pod(SERVING, "httpd", "-f", "-p", str(HTTP), "-h", "/etc", nodeName="node-1"))
        lab.apply(*manifests, serving)
        self.pods = eventually(lambda: lab.all_running([*NODES, SERVING]))
        self.spaces = {name: self.netns(item) for name, item in self.pods.items()}
        self.spaces |= {name: self.host(name) for name in ("control", "node-2")}
        self.prober = Prober(self.spaces, (80,))

    def netns(self, item: dict[str, Any]) -> Path:
        return Path(f"/proc/{self.lab.state(item)['pid']}/ns/net")

    def host(self, name: str) -> Path:
        return Path(f"/run/pinnace/labs/{self.lab.name}/ns/{name}.net")

    def on(self, name: str, *command: str) -> str:
        enter = ["nsenter", f"--net={self.host(name)}"]
        return subprocess.run([*enter, *command], capture_output=True, text=True, check=True, timeout=30).stdout

    def address(self, name: str) -> str:
        return str(self.pods[name]["status"]["podIP"])

    def underlay(self, node: str) -> str:
        addresses: list[dict[str, str]] = self.lab.get("node", node)["status"]["addresses"]
        return next(item["address"] for item in addresses if item["type"] == "InternalIP")

    def reaches(self, source: str, address: str, port: int = 80) -> bool:
        return all(self.prober.probe([Probe(source, address, port, TCP)]).values())

    def finished(self, name: str) -> list[str]:
        """The words that a pod has written, once it is done."""

        def words() -> list[str]:
            found = self.lab.run("logs", name).stdout.decode().split()
            return found if "done" in found else []

        return list(eventually(words, within=60))

    def connects(self, source: str, address: str, port: int) -> bool:
        """To a server that is not the prober's."""

        def connect() -> bool:
            try:
                socket.create_connection((address, port), 2).close()
            except OSError:
                return False
            return True

        return within(self.spaces[source], connect)

    @contextlib.contextmanager
    def policies(self, *manifests: dict[str, Any]) -> Iterator[None]:
        self.lab.apply(*manifests)
        try:
            yield
        finally:
            self.lab.kctl("delete", "networkpolicy", *(item["metadata"]["name"] for item in manifests))


def labelled(manifest: dict[str, Any]) -> dict[str, Any]:
    manifest["metadata"]["labels"] = {"app": manifest["metadata"]["name"]}
    return manifest


def deny(name: str, *types: str) -> dict[str, Any]:
    return policy("default", f"deny-{name}", podSelector={"matchLabels": {"app": name}}, policyTypes=list(types or ["Ingress"]))


def admit(name: str, *peers: dict[str, Any]) -> dict[str, Any]:
    return policy("default", f"admit-{name}", podSelector={"matchLabels": {"app": name}}, ingress=[{"from": list(peers)}])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running("t-polnode", tmp_path_factory.mktemp("polnode"), nodes=2) as lab:
        found = Place(lab)
        yield found
        found.prober.close()


@pytest.mark.parametrize("denied", ["server", "client"])
@pytest.mark.parametrize("server", [NEAR, FAR])
def test_connections_end_when_they_are_no_longer_allowed(place: Place, server: str, denied: str) -> None:
    """TCP and UDP, whichever end sends: within a node and across nodes, by the server's policy and by the client's."""
    ends = place.spaces[CLIENT], place.spaces[server], place.address(server)
    with contextlib.ExitStack() as stack:
        # One after the other: each listens on the same port until it has its connection.
        found = [
            stack.enter_context(transfer(*ends, protocol=protocol, direction=direction))
            for protocol, direction in itertools.product((TCP, UDP), (UP, DOWN))
        ]
        for item in found:
            item.await_progress()
        with place.policies(deny(server) if denied == "server" else deny(CLIENT, "Egress")):
            for item in found:
                item.await_end()
            assert [isinstance(item.failure, ConnectionError) for item in found] == [True, True, False, False]


def test_probes_of_the_agent_pass(place: Place) -> None:
    """A pod that may neither send nor receive anything is ready all the same."""
    probe = {"tcpSocket": {"port": HTTP}, "periodSeconds": 1, "failureThreshold": 1}
    closed = labelled(pod("closed", "httpd", "-f", "-p", str(HTTP), nodeName="node-1", container={"readinessProbe": probe}))
    with place.policies(deny("closed", "Ingress", "Egress")):
        place.lab.apply(closed)
        item = eventually(lambda: place.lab.all_running(["closed"]))["closed"]
        assert not place.connects(CLIENT, item["status"]["podIP"], HTTP)
        time.sleep(3)
        assert place.lab.all_running(["closed"])
    eventually(lambda: place.connects(CLIENT, item["status"]["podIP"], HTTP))


def test_a_pod_is_isolated_from_its_first_moment(place: Place) -> None:
    """Its first process tries all the time; the pods start one after another, so policies and their groups are known or not."""
    attempt = f"echo GET / | nc -w 1 {place.address(SERVING)} {HTTP} 2>/dev/null | grep -q . && echo reached"
    script = f"for i in 1 2 3 4 5; do {attempt}; done; echo done; sleep 600"
    names = [f"new-{number}" for number in range(4)]
    manifests = [pod(name, "sh", "-c", script, nodeName=f"node-{1 + number % 2}") for number, name in enumerate(names)]
    for manifest in manifests:
        manifest["metadata"]["labels"] = {"app": "new"}
    with place.policies(deny("new", "Egress")):
        for manifest in manifests:
            place.lab.apply(manifest)
        for name in names:
            assert place.finished(name) == ["done"], name
    place.lab.apply(labelled(pod("free", "sh", "-c", script, nodeName="node-1")))
    # One may take longer than a second on a busy machine.
    assert place.finished("free").count("reached") >= 3, "the attempts are real ones"


def test_rules_stay_while_an_agent_starts_again(place: Place) -> None:
    """Neither is anything allowed meanwhile, nor does an allowed connection end; what changed while it was away is programmed."""
    table = ("nft", "list", "map", "inet", "pinnace", "policy_peers_4")
    ends = place.spaces[CLIENT], place.spaces[FAR], place.address(FAR)
    with place.policies(admit(FAR, FRIEND)), transfer(*ends, protocol=TCP, direction=DOWN) as allowed:
        eventually(lambda: not place.reaches(NEAR, place.address(FAR)))
        before = place.on("node-2", *table)
        place.lab.kill("node-2")
        assert not place.reaches(NEAR, place.address(FAR))
        place.lab.start_agent("node-2")
        for _ in range(5):
            assert not place.reaches(NEAR, place.address(FAR))
        allowed.await_progress()
        assert place.on("node-2", *table) == before
        place.lab.kill("node-2")
        place.lab.kctl("label", "pod", NEAR, f"app={CLIENT}", "--overwrite")
        assert not place.reaches(NEAR, place.address(FAR))
        place.lab.start_agent("node-2")
        eventually(lambda: place.reaches(NEAR, place.address(FAR)))
        place.lab.kctl("label", "pod", NEAR, f"app={NEAR}", "--overwrite")
        assert allowed.failure is None


def test_the_rules_are_as_wanted(place: Place) -> None:
    """By a comparison with the kernel, also right after a change; an element that someone has removed is put back."""
    with place.policies(admit(FAR, FRIEND), deny(NEAR, "Ingress", "Egress")):
        eventually(lambda: not place.reaches(CLIENT, place.address(NEAR)))
        place.lab.kctl("net", "verify")
        place.on("node-1", "nft", "flush", "set", "inet", "pinnace", "policy_in_pods_4")
        eventually(lambda: not place.reaches(CLIENT, place.address(NEAR)))
        place.lab.kctl("net", "verify")


def heavy(number: int) -> dict[str, Any]:
    """A policy with 20,000 pairs of a peer and a port, none of which is of a pod."""
    peers = [{"ipBlock": {"cidr": f"192.0.{number}.{block}/32"}} for block in range(200)]
    ports = [{"port": 1000 + port} for port in range(100)]
    selector = {"matchLabels": {"app": FAR}}
    return policy("default", f"heavy-{number}", podSelector=selector, ingress=[{"from": peers, "ports": ports}])


def test_a_namespace_with_too_many_grants_has_an_event(place: Place) -> None:
    """Its newest policies allow nothing until there is room."""
    newest = {**admit(FAR, FRIEND), "metadata": {"name": "newest", "namespace": "default"}}
    with place.policies(*map(heavy, range(6)), newest):
        eventually(lambda: not place.reaches(CLIENT, place.address(FAR)))

        def messages() -> list[str]:
            events = place.lab.get("events", "-A", "--field-selector", "reason=NetworkPoliciesLeftOut")["items"]
            return [item["message"] for item in events if item["involvedObject"]["name"] == "node-2"]

        assert "NetworkPolicies of namespace default allow nothing on this node" in eventually(messages)[0]
        assert not place.reaches(CLIENT, place.address(FAR))
        place.lab.kctl("delete", "networkpolicy", "heavy-0", "heavy-1")
        eventually(lambda: place.reaches(CLIENT, place.address(FAR)))
        place.lab.apply(heavy(0), heavy(1))


def test_clients_outside_are_ranges_of_addresses(place: Place) -> None:
    """By their own address, at a port of the node; traffic of the node itself is always allowed."""
    web, node = place.underlay("node-2"), place.address(WEB)
    outside = place.on("control", "ip", "-4", "-o", "route", "get", web).split("src ")[1].split()[0]
    eventually(lambda: place.reaches("control", web, HOST_PORT))
    with place.policies(deny(WEB)):
        eventually(lambda: not place.reaches("control", web, HOST_PORT))
        assert place.reaches("node-2", node)
        with place.policies(admit(WEB, {"ipBlock": {"cidr": f"{outside}/32"}})):
            eventually(lambda: place.reaches("control", web, HOST_PORT))
            assert not place.reaches(CLIENT, node)


def service(name: str) -> dict[str, Any]:
    ports = [{"port": SERVICE_PORT, "targetPort": 80}]
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "NodePort", "selector": {"app": name}, "ports": ports},
    }  # fmt: skip


def test_a_service_is_its_endpoints(place: Place) -> None:
    """A policy is about the pod that a connection leads to, and the client's own address; a pod reaches itself."""
    place.lab.apply(service(NEAR), service(FAR))
    specs = {name: place.lab.get("service", name)["spec"] for name in (NEAR, FAR)}
    near, far = (specs[name]["clusterIP"] for name in (NEAR, FAR))
    for address in (near, far):
        eventually(lambda address=address: place.reaches(CLIENT, address, SERVICE_PORT))
    only_near = policy(
        "default", "only-near", podSelector={"matchLabels": {"app": CLIENT}}, policyTypes=["Egress"],
        egress=[{"to": [{"podSelector": {"matchLabels": {"app": NEAR}}}], "ports": [{"port": 80}]}],
    )  # fmt: skip
    with place.policies(only_near):
        eventually(lambda: not place.reaches(CLIENT, far, SERVICE_PORT))
        assert place.reaches(CLIENT, near, SERVICE_PORT)
        with place.policies(deny(NEAR, "Ingress", "Egress")):
            eventually(lambda: not place.reaches(CLIENT, near, SERVICE_PORT))
            assert place.reaches(NEAR, near, SERVICE_PORT)
    node, port = place.underlay("node-2"), specs[FAR]["ports"][0]["nodePort"]
    outside = place.on("control", "ip", "-4", "-o", "route", "get", node).split("src ")[1].split()[0]
    with place.policies(deny(FAR)):
        eventually(lambda: not place.reaches("control", node, port))
        with place.policies(admit(FAR, {"ipBlock": {"cidr": f"{outside}/32"}})):
            eventually(lambda: place.reaches("control", node, port))
