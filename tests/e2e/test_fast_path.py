"""The fast path between pods of a lab: which connections take it, and that what ends or changes them ends it too."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import frames
from tests.support.frames import within
from tests.support.labs import LabUnderTest, eventually, pod, running
from tests.support.transfers import DOWN, PORT, UP, Transfer, transfer

pytestmark = pytest.mark.root
CLIENT, NEIGHBOUR, SERVER = "client", "neighbour", "server"
NODES = {CLIENT: "node-1", NEIGHBOUR: "node-1", SERVER: "node-2"}
_LINE = re.compile(r'pinnace_network_fast_path_packets_total\{result="forwarded"\} (\S+)')
# Packets of a transfer that are proof enough.
SOME = 50


class Place:
    def __init__(self, lab: LabUnderTest) -> None:
        self.lab = lab
        labelled = [pod(name, nodeName=node) for name, node in NODES.items()]
        for item in labelled:
            item["metadata"]["labels"] = {"app": item["metadata"]["name"]}
        lab.apply(*labelled)
        self.pods = eventually(lambda: lab.all_running(list(NODES)))

    def of(self, name: str) -> Path:
        """A pod's network namespace."""
        return Path(f"/proc/{self.lab.state(self.pods[name])['pid']}/ns/net")

    def address(self, name: str, family: int = 4) -> str:
        return next(i["ip"] for i in self.pods[name]["status"]["podIPs"] if (":" in i["ip"]) == (family == 6))

    def on(self, node: str, *command: str) -> str:
        enter = ["nsenter", f"--net=/run/pinnace/labs/{self.lab.name}/ns/{node}.net"]
        return subprocess.run([*enter, *command], capture_output=True, text=True, check=True, timeout=30).stdout

    def forwarded(self, node: str) -> int:
        """Packets that have taken the fast path on a node."""
        text = self.lab.kctl("get", "--raw", f"/api/v1/nodes/{node}/proxy/metrics")
        found = _LINE.search(text)
        assert found, text
        return int(float(found[1]))

    def await_fast(self, *nodes: str) -> None:
        for node in nodes:
            before = self.forwarded(node)
            eventually(lambda node=node, before=before: self.forwarded(node) > before + SOME)

    def transfer(
        self, target: str = SERVER, *, protocol: str = "tcp", direction: str = UP, family: int = 4
    ) -> contextlib.AbstractContextManager[Transfer]:
        return transfer(self.of(CLIENT), self.of(target), self.address(target, family), protocol=protocol, direction=direction)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running("fastpath", tmp_path_factory.mktemp("fastpath"), nodes=2, up=("--ip-family=dual",)) as lab:
        yield Place(lab)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("protocol", "direction"), [("tcp", UP), ("tcp", DOWN), ("udp", DOWN)])
def test_established_connections_across_nodes(place: Place, family: int, protocol: str, direction: str) -> None:
    """On both nodes: out of the pod, and into it."""
    with place.transfer(protocol=protocol, direction=direction, family=family) as moving:
        moving.await_progress()
        place.await_fast("node-1", "node-2")
        moving.await_progress()


@pytest.mark.parametrize("family", [4, 6])
def test_established_connections_within_a_node(place: Place, family: int) -> None:
    with place.transfer(NEIGHBOUR, family=family) as moving:
        moving.await_progress()
        place.await_fast("node-1")
        moving.await_progress()


def deny(name: str, kind: str) -> dict[str, object]:
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny"},
        "spec": {"podSelector": {"matchLabels": {"app": name}}, "policyTypes": [kind]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("direction", "name", "kind"),
    [(UP, SERVER, "Ingress"), (DOWN, SERVER, "Ingress"), (UP, CLIENT, "Egress"), (DOWN, CLIENT, "Egress")],
)
def test_a_policy_ends_a_connection_that_takes_it(place: Place, direction: str, name: str, kind: str) -> None:
    with place.transfer(direction=direction) as moving:
        moving.await_progress()
        place.await_fast("node-1", "node-2")
        place.lab.apply(deny(name, kind))
        try:
            moving.await_end()
        finally:
            place.lab.kctl("delete", "networkpolicy", "deny")


def test_rules_of_others_end_a_connection_that_takes_it(place: Place) -> None:
    """A table that is not Pinnace's; without it packets pass again."""
    with place.transfer(protocol="udp", direction=DOWN) as moving:
        moving.await_progress()
        place.await_fast("node-1", "node-2")
        rules = f"add table inet others; add chain inet others forward {{ type filter hook forward priority 0; }}; add rule inet others forward udp sport {PORT} drop"
        place.on("node-2", "nft", rules)
        try:
            moving.await_end()
        finally:
            place.on("node-2", "nft", "delete table inet others")
        moving.await_progress()
        place.await_fast("node-2")


def test_translated_connections_take_the_slow_path(place: Place) -> None:
    """Those to a Service: connection tracking translates each of their packets."""
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"selector": {"app": SERVER}, "ports": [{"port": PORT}]}}  # fmt: skip
    place.lab.apply(service)
    address = str(place.lab.get("service", "web")["spec"]["clusterIP"])
    eventually(lambda: f"{place.address(SERVER)} . {PORT}" in place.on("node-1", "nft", "list", "table", "inet", "pinnace"))
    before = [place.forwarded(node) for node in ("node-1", "node-2")]
    with transfer(place.of(CLIENT), place.of(SERVER), address, protocol="tcp", direction=UP) as moving:
        for _ in range(5):
            moving.await_progress()
        # Node-2 translates nothing: there the connection is one between two pods.
        eventually(lambda: place.forwarded("node-2") > before[1])
        assert place.forwarded("node-1") == before[0]
    place.lab.kctl("delete", "service", "web")


class Talk:
    """Datagrams between the client's and the server's port 7777, one at a time."""

    def __init__(self, place: Place) -> None:
        self.server = within(place.of(SERVER), self._socket)
        self.client = within(place.of(CLIENT), self._socket)
        self.client.connect((place.address(SERVER), frames.PORT))

    def _socket(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("", frames.PORT))
        sock.settimeout(5)
        return sock

    def ask(self, payload: bytes) -> list[bytes]:
        """What the server has received until the payload came."""
        self.client.send(payload)
        found = list[bytes]()
        while payload not in found:
            data, sender = self.server.recvfrom(1 << 16)
            found.append(data)
        self.server.sendto(payload, sender)
        assert self.client.recv(1 << 16) == payload
        return found

    def close(self) -> None:
        self.server.close()
        self.client.close()


@pytest.fixture
def talk(place: Place) -> Iterator[Talk]:
    found = Talk(place)
    yield found
    found.close()


def await_fast(place: Place, talk: Talk) -> None:
    """Each datagram takes the fast path out of the client and into the server."""

    def fast() -> bool:
        before = [place.forwarded(node) for node in ("node-1", "node-2")]
        for _ in range(10):
            talk.ask(b"warm")
        return all(place.forwarded(node) >= old + 18 for node, old in zip(("node-1", "node-2"), before, strict=True))

    eventually(fast)


def test_a_neighbour_in_the_name_of_the_client_is_not_forwarded(place: Place, talk: Talk) -> None:
    """The flow is that of the client's port: the same packet from another one meets the rules, and is dropped."""
    await_fast(place, talk)
    neighbour = place.of(NEIGHBOUR)
    found = within(
        neighbour, lambda: subprocess.run(["ip", "-j", "link", "show", "eth0"], capture_output=True, check=True)
    ).stdout
    mac = str(json.loads(found)[0]["address"])
    bridge = str(json.loads(place.on("node-1", "ip", "-j", "link", "show", "pinnace0"))[0]["address"])
    forged = frames.ipv4_udp(place.address(CLIENT), place.address(SERVER), b"forged")
    before = place.forwarded("node-1")
    for _ in range(5):
        frames.send_frame(neighbour, "eth0", frames.ethernet(mac, bridge, forged))
    assert place.forwarded("node-1") == before
    assert b"forged" not in talk.ask(b"genuine")
    # Well made: from the client itself it arrives.
    client = within(
        place.of(CLIENT), lambda: subprocess.run(["ip", "-j", "link", "show", "eth0"], capture_output=True, check=True)
    ).stdout
    own = str(json.loads(client)[0]["address"])
    frames.send_frame(place.of(CLIENT), "eth0", frames.ethernet(own, bridge, forged))
    assert b"forged" in talk.ask(b"genuine again")


def test_fragments_of_a_flow_arrive(place: Place, talk: Talk) -> None:
    """By the slow path, which puts them together."""
    await_fast(place, talk)
    large = b"x" * 4000
    assert talk.ask(large) == [large]


def test_a_pod_that_is_made_anew_is_reached(place: Place) -> None:
    """And the flows of the one before lead nowhere."""
    with place.transfer() as moving:
        moving.await_progress()
        place.await_fast("node-1", "node-2")
        place.lab.kctl("delete", "pod", SERVER)
        moving.await_end()
    item = pod(SERVER, nodeName=NODES[SERVER])
    item["metadata"]["labels"] = {"app": SERVER}
    place.lab.apply(item)
    place.pods |= eventually(lambda: place.lab.all_running([SERVER]))
    with place.transfer() as moving:
        moving.await_progress()
        place.await_fast("node-1", "node-2")


def test_connections_outlive_the_agent(place: Place) -> None:
    """The fast path ends with the agent, and begins again with the next one."""
    with place.transfer() as moving:
        moving.await_progress()
        place.await_fast("node-1", "node-2")
        place.lab.kill("node-2")
        try:
            for _ in range(3):
                moving.await_progress()
        finally:
            place.lab.start_agent("node-2")
        eventually(lambda: place.forwarded("node-2") > SOME, within=60)
        moving.await_progress()


def test_connection_tracking_stays_liberal(place: Place) -> None:
    """It does not see all sequence numbers."""
    names = [f"net.netfilter.nf_conntrack_tcp_{name}" for name in ("be_liberal", "ignore_invalid_rst")]
    assert place.on("node-1", "sysctl", "-n", *names).split() == ["1", "1"]
    place.on("node-1", "sysctl", "-w", *(f"{name}=0" for name in names))
    eventually(lambda: place.on("node-1", "sysctl", "-n", *names).split() == ["1", "1"])


def test_devices_that_are_made_again_have_it_again(place: Place) -> None:
    place.on("node-2", "ip", "link", "delete", "pinnace-vx")
    with contextlib.ExitStack() as stack:
        eventually(lambda: "pinnace-vx" in place.on("node-2", "ip", "link"))
        moving = stack.enter_context(place.transfer())
        moving.await_progress()
        place.await_fast("node-2")


def test_without_the_fast_path_every_packet_meets_the_rules(tmp_path: Path) -> None:
    """`kctl lab up --no-fast-path`."""
    with running("slowpath", tmp_path, nodes=1, up=("--no-fast-path",)) as lab:
        lab.apply(*(pod(name, nodeName="node-1") for name in (CLIENT, SERVER)))
        eventually(lambda: lab.all_running([CLIENT, SERVER]))
        place = Place.__new__(Place)
        place.lab, place.pods = lab, lab.pods()
        with place.transfer() as moving:
            for _ in range(5):
                moving.await_progress()
        assert place.forwarded("node-1") == 0
        assert "fastpath" not in place.on("node-1", "nft", "list", "table", "inet", "pinnace")
