"""A cluster of IPv6 alone: underlay, control plane, nodes, pods and Services have no IPv4 address."""

from __future__ import annotations

import functools
import ipaddress
import json
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.network.vxlan import mac_of
from tests.e2e.test_capture import read
from tests.support import frames
from tests.support.dualstack import ATTACKER, NEIGHBOUR, NODES, PODS, VICTIM, Place
from tests.support.labs import eventually, pod, running

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running("t-ipv6", tmp_path_factory.mktemp("ipv6"), nodes=2, up=("--ip-family", "ipv6")) as lab:
        yield Place(lab)


def test_nothing_has_an_ipv4_address(place: Place) -> None:
    """Neither objects nor devices, but for loopback."""
    for node in ("node-1", "node-2"):
        found = place.lab.get("node", node)
        assert [":" in item for item in (*place.underlay(node).values(), *found["spec"]["podCIDRs"])] == [True, True]
    for name in PODS:
        assert [":" in item["ip"] for item in place.pods[name]["status"]["podIPs"]] == [True]
    for namespace in (place.of(VICTIM), place.host("node-1"), place.host("control")):
        devices = json.loads(place.inside(namespace, "ip", "-j", "-4", "addr"))
        assert {item["ifname"] for item in devices if item} <= {"lo"}


def test_pods_reach_each_other_over_an_ipv6_underlay(place: Place) -> None:
    """Across nodes and within one, with packets as large as the MTU says, which the outer header makes smaller."""
    assert json.loads(place.inside(place.of(VICTIM), "ip", "-j", "link", "show", "eth0"))[0]["mtu"] == 1430
    for target in (VICTIM, NEIGHBOUR):
        with frames.senders(place.of(target), place.addresses(target)[6]) as got:
            frames.send_udp(place.of(ATTACKER), (place.addresses(target)[6], frames.PORT), b"x" * 1382)
            assert got() == [(b"x" * 1382, place.addresses(ATTACKER)[6])] * 3
    forwarding = place.on("node-1", "bridge", "fdb", "show", "dev", "pinnace-vx")
    assert f"dst {place.underlay('node-2')[6]}" in forwarding


def test_traffic_that_leaves_the_cluster_has_the_nodes_address(place: Place) -> None:
    outside = place.underlay("control")[6]
    with frames.senders(place.host("control"), outside) as got:
        frames.send_udp(place.of(VICTIM), (outside, frames.PORT), b"out")
        assert got() == [(b"out", place.underlay("node-2")[6])] * 3


def test_pods_reach_the_api_by_its_certificate(place: Place) -> None:
    """At the address that they are told, in a pod's own network and with the CA that pods have."""
    said = place.lab.kctl("exec", VICTIM, "--", "env")
    told = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    host, port = told["KUBERNETES_SERVICE_HOST"], int(told["KUBERNETES_SERVICE_PORT"])
    assert ":" in host
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    context = ssl.create_default_context(cadata=place.lab.kctl("exec", VICTIM, "--", "cat", f"{folder}/ca.crt"))

    def ask() -> bytes:
        with socket.create_connection((host, port), timeout=10) as raw, context.wrap_socket(raw, server_hostname=host) as sock:
            sock.sendall(b"GET /version HTTP/1.1\r\nHost: kubernetes\r\nConnection: close\r\n\r\n")
            return sock.recv(100)

    # The route to a Service is there a moment after the node has it.
    assert eventually(lambda: frames.within(place.of(VICTIM), ask)).startswith(b"HTTP/1.1 ")


def asked(place: Place, name: str, *words: str) -> str:
    """What a pod's resolver answers."""
    return place.lab.run("exec", name, "--", "nslookup", *words).stdout.decode().partition("\n\n")[2]


@pytest.mark.parametrize("name", [VICTIM, ATTACKER])
def test_names_are_answered_at_an_ipv6_address(place: Place, name: str) -> None:
    """On each node: the address of a Service, the Service of an address, and nothing of IPv4."""
    configured = place.lab.kctl("exec", name, "--", "cat", "/etc/resolv.conf")
    [server] = [line.split()[1] for line in configured.splitlines() if line.startswith("nameserver")]
    assert ":" in server
    service = place.lab.get("service", "kubernetes")["spec"]["clusterIP"]
    domain = "kubernetes.default.svc.cluster.local"
    eventually(lambda: f"Address: {service}" in asked(place, name, "-type=aaaa", domain))
    assert "Address:" not in asked(place, name, "-type=a", domain)
    assert domain in asked(place, name, "-type=ptr", ipaddress.ip_address(service).reverse_pointer)


def test_probes_logs_exec_and_port_forward(place: Place) -> None:
    """The agent's own connections to the pod, and those of kctl."""
    probe = {"readinessProbe": {"httpGet": {"path": "/hostname", "port": 8080}, "periodSeconds": 1}}
    place.lab.apply(pod("served", "httpd", "-f", "-v", "-p", "8080", "-h", "/etc", container=probe))
    place.lab.kctl("wait", "pod", "served", "--for=condition=Ready", "--timeout=30s")
    assert "response:" in eventually(lambda: place.lab.kctl("logs", "served"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = place.lab.command("port-forward", "pod/served", f"{port}:8080")
    forward = subprocess.Popen(words, env=place.lab.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:

        def fetch() -> bytes:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
                sock.sendall(b"GET /hostname HTTP/1.0\r\n\r\n")
                return b"".join(iter(lambda: sock.recv(1000), b""))

        deadline = time.monotonic() + 20
        while True:
            try:
                answer = fetch()
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert answer.endswith(b"served\n")
    finally:
        forward.terminate()
        forward.wait(10)
    place.lab.kctl("delete", "pod", "served", "--now")


@pytest.fixture
def traced(place: Place) -> Iterator[dict[str, str]]:
    """Addresses of a pod of node-2 and of its Service, whose port has a name at both."""
    serve = "mkdir -p /www; echo page > /www/index.html; exec httpd -f -p 8080 -h /www"
    item = pod("traced", "sh", "-c", serve, nodeName="node-2", container={"ports": [{"name": "web", "containerPort": 8080}]})
    item["metadata"]["labels"] = {"app": "traced"}
    ports = [{"name": "other", "port": 81, "targetPort": 9}, {"name": "http", "port": 80, "targetPort": "web"}]
    spec = {"selector": {"app": "traced"}, "ports": ports}
    place.lab.apply(item, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "traced-service"}, "spec": spec})
    found = eventually(lambda: place.lab.all_running(["traced"]))["traced"]
    yield {"pod": found["status"]["podIP"], "service": place.lab.get("service", "traced-service")["spec"]["clusterIP"]}
    place.lab.kctl("delete", "pod/traced", "service/traced-service", "--now")


@pytest.mark.parametrize(
    ("target", "port", "kind"),
    [
        ("pod/traced", 0, "pod"),
        ("traced:8080", 8080, "pod"),
        ("traced:web", 8080, "pod"),
        ("svc/traced-service:http", 80, "service"),
    ],
)
def test_a_trace_over_ipv6(place: Place, traced: dict[str, str], target: str, port: int, kind: str) -> None:
    """To the other node, by names of ports too; each hop has IPv6 addresses."""
    address, end = traced[kind], f"[{traced['pod']}]:8080" if port else traced["pod"]
    shown = f"[{address}]:{port}" if port else address

    def followed() -> str:
        said = place.lab.run("net", "trace", ATTACKER, target).stdout.decode()
        return said if said.strip().endswith(f"delivered to {end}") else ""

    text = eventually(followed)
    assert text.startswith(f"{ATTACKER} ({place.addresses(ATTACKER)[6]}, node-1) -> {kind} ")
    assert f"({shown}, {'tcp' if port else 'icmp'})" in text.splitlines()[0]
    assert (f"service   {shown} is translated to {end}" in text) == (kind == "service")
    assert f"underlay  to {place.underlay('node-2')[6]} dev eth0" in text
    assert f"neighbour {traced['pod']} lladdr" in text.partition("node-2:")[2]


def test_a_capture_over_ipv6(place: Place, traced: dict[str, str], tmp_path: Path) -> None:
    """Of one host and port: requests by the Service arrive at the pod's own port."""
    path = tmp_path / "captured.pcap"
    source = place.addresses(ATTACKER)[6]
    words = place.lab.command("net", "capture", "traced", "--host", source, "--port", "8080", "-c", "4", "-w", str(path))
    with subprocess.Popen(words, env=place.lab.environment, stderr=subprocess.PIPE) as process:

        def ended() -> bool:
            url = f"http://[{traced['service']}]/index.html"
            place.lab.run("exec", ATTACKER, "--", "timeout", "2", "wget", "-qO-", url)
            place.lab.run("exec", NEIGHBOUR, "--", "timeout", "2", "wget", "-qO-", url)
            return process.poll() is not None

        eventually(ended)
    packets = read(path.read_bytes())
    assert len(packets) == 4
    for packet in packets:
        assert packet[12:14] == b"\x86\xdd"
        assert {packet[22:38], packet[38:54]} == {socket.inet_pton(socket.AF_INET6, item) for item in (source, traced["pod"])}
        assert 8080 in struct.unpack_from("!HH", packet, 54)


def test_ipv4_of_a_pod_reaches_nobody(place: Place) -> None:
    """It has no such address, and could only forge one."""
    target = "10.9.9.9"
    place.inside(place.of(NEIGHBOUR), "ip", "addr", "add", f"{target}/24", "dev", "eth0")
    try:
        with frames.listening(place.of(NEIGHBOUR), target) as got:
            place.attack(frames.ipv4_udp("10.9.9.8", target, b"forged"), place.mac(place.of(NEIGHBOUR)))
            assert got() == []
    finally:
        place.inside(place.of(NEIGHBOUR), "ip", "addr", "del", f"{target}/24", "dev", "eth0")


def forged(place: Place) -> tuple[bytes, int]:
    """Encapsulated for node-2, as if node-1 had routed it; and the port for it."""
    details = json.loads(place.on("node-1", "ip", "-d", "-j", "link", "show", "pinnace-vx"))[0]["linkinfo"]["info_data"]
    inner = frames.ipv6_udp(place.addresses(NEIGHBOUR)[6], place.addresses(VICTIM)[6], b"forged")
    frame = frames.ethernet(mac_of("node-1"), mac_of("node-2"), inner, frames.ETH_IPV6)
    return frames.vxlan(int(details["id"]), frame), int(details["port"])


@pytest.mark.parametrize("who", ["a pod", "a process of a node", "a host that is no node"])
def test_only_nodes_send_encapsulated_packets(place: Place, who: str) -> None:
    source = {"a pod": place.of(ATTACKER), "a process of a node": place.host("node-1")}.get(who, place.host("control"))
    payload, port = forged(place)
    target = (place.underlay("node-2")[6], port)
    assert place.received(VICTIM, 6, lambda: frames.send_udp(source, target, payload)) == []


def test_these_attacks_work_without_the_rules(place: Place) -> None:
    """Last: the tables are deleted by hand without agents, which make them again when they start."""
    for node in NODES:
        place.lab.kill(node)
        for family in ("inet", "bridge", "arp"):
            place.on(node, "nft", "delete", "table", family, "pinnace")
    try:
        payload, port = forged(place)
        target = (place.underlay("node-2")[6], port)
        for host in ("node-1", "control"):
            # The first packet to a neighbour that has to be found may take longer than one wait.
            sent = functools.partial(frames.send_udp, place.host(host), target, payload)
            eventually(lambda sent=sent: b"forged" in place.received(VICTIM, 6, sent))
    finally:
        for node in NODES:
            place.lab.start_agent(node)
    # The forged packets of a host are dropped by the node that they reach.
    eventually(place.guarded)
    test_only_nodes_send_encapsulated_packets(place, "a host that is no node")
