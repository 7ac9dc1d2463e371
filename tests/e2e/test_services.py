"""Services on nodes: who answers at which address, and whom the answering pod sees."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import frames
from tests.support.labs import eventually, pod, running
from tests.support.servicelab import LOST, PORT, REFUSED, ServiceLab, backend, connect, get, service

pytestmark = pytest.mark.root
NODES = ("node-1", "node-2", "node-3")
BACKENDS = {f"web-{node[-1]}" for node in NODES}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceLab]:
    """A backend on each node, and clients on two; `control` is a host of the underlay that is no node."""
    with running("t-services", tmp_path_factory.mktemp("services")) as lab:
        found = ServiceLab(lab)
        found.run(
            *(backend(f"web-{node[-1]}", node, "web") for node in NODES), backend("alone", "node-1"),
            pod("client-1", nodeName="node-1"), pod("client-2", nodeName="node-2"),
            service("web"), service("ported", "web", type="NodePort"), service("alone"),
            service("nothing", "nobody", type="NodePort"),
        )  # fmt: skip
        eventually(lambda: found.names(found.host("node-1"), found.ip("web")) == BACKENDS)
        yield found


@pytest.mark.parametrize("client", ["client-1", "client-2"])
def test_a_cluster_ip_leads_pods_to_endpoints_of_every_node(place: ServiceLab, client: str) -> None:
    """Which see the pod's own address, on another node and on its own."""
    ip, own = place.ip("web"), place.address(client)
    seen = {place.who(place.of(client), ip) for _ in range(40)}
    assert seen == {(name, own) for name in BACKENDS}


@pytest.mark.parametrize("node", NODES)
def test_processes_of_a_node_reach_services(place: ServiceLab, node: str) -> None:
    """A lab without uplink has no default route; that to Services suffices."""
    assert place.names(place.host(node), place.ip("web"), times=40) == BACKENDS


def test_a_pod_reaches_itself_through_its_service(place: ServiceLab) -> None:
    """Hairpin: it sees another address than its own, from which it would take no packet."""
    name, seen = place.who(place.of("alone"), place.ip("alone"))
    assert (name, seen) == ("alone", place.address("alone").rpartition(".")[0] + ".1")
    assert place.names(place.of("web-1"), place.ip("web")) == BACKENDS


def test_a_node_port_answers_at_every_node(place: ServiceLab) -> None:
    """Of other hosts, of pods and of the node itself. Outsiders are masqueraded, pods are not."""
    port = place.node_port("ported")
    for node in NODES:
        address = place.underlay(node)
        assert place.names(place.host("control"), address, port, times=40) == BACKENDS
        # Of the overlay's device to pods of other nodes, of the bridge to its own.
        network = place.address(f"web-{node[-1]}").rpartition(".")[0]
        assert {place.who(place.host("control"), address, port)[1] for _ in range(40)} == {f"{network}.0", f"{network}.1"}
        assert place.names(place.host(node), address, port, times=40) == BACKENDS
    own = place.underlay("node-1")
    assert {place.who(place.of("client-1"), own, port)[1] for _ in range(10)} == {place.address("client-1")}


def test_an_endpoint_in_the_network_of_its_node(place: ServiceLab) -> None:
    """Every node leads hosts of the underlay to it, which are masqueraded if that node is another one. The node's own processes
    send from its address, not from that of the cluster DNS, which is on `lo`."""
    place.run(backend("host", "node-1", hostNetwork=True), service("host", type="NodePort"))
    control, ip, port = place.host("control"), place.ip("host"), place.node_port("host")
    own = {node: place.underlay(node) for node in NODES}
    for node in NODES:
        seen = own[node] if node != "node-1" else own[node].rpartition(".")[0] + ".1"
        eventually(lambda node=node, seen=seen: place.who(control, own[node], port)[1] == seen)
        assert place.who(place.host(node), ip)[1] == own[node]
    assert place.who(place.of("client-1"), ip)[1] == place.address("client-1")
    assert place.who(place.of("client-2"), ip)[1] == own["node-2"]
    place.remove("service/host", "pod/host")


def test_a_node_port_is_not_at_other_addresses_of_a_node(place: ServiceLab) -> None:
    """By default it is at the node's own, as in kube-proxy's nftables mode."""
    port, further = place.node_port("ported"), "198.51.100.151"
    enter = ("nsenter", f"--net={place.host('node-1')}", "ip", "address")
    subprocess.run([*enter, "add", f"{further}/32", "dev", "eth0"], check=True)
    try:
        assert get(place.host("control"), further, port, "/") == REFUSED
        assert get(place.host("node-1"), further, port, "/") == REFUSED
        assert place.who(place.host("control"), place.underlay("node-1"), port)[0] in BACKENDS
    finally:
        subprocess.run([*enter, "del", f"{further}/32", "dev", "eth0"], check=True)


def test_a_node_port_is_not_at_addresses_for_pods_and_not_at_localhost(place: ServiceLab) -> None:
    """As in kube-proxy's nftables mode."""
    port, gateway = place.node_port("ported"), place.address("client-1").rpartition(".")[0] + ".1"
    assert get(place.of("client-1"), gateway, port, "/") == REFUSED
    assert get(place.host("node-1"), "127.0.0.1", port, "/") == REFUSED


def test_what_no_service_takes_is_refused_at_once(place: ServiceLab) -> None:
    """A port that a Service has not, an address that none has, one without endpoints; for pods and for processes of nodes."""
    for client in (place.of("client-1"), place.host("node-2")):
        for address, port in ((place.ip("web"), 81), ("10.96.77.77", 80), (place.ip("nothing"), 80)):
            assert get(client, address, port, "/") == REFUSED, (address, port)
    assert get(place.host("control"), place.underlay("node-1"), place.node_port("nothing"), "/") == REFUSED
    assert send_udp(place.of("client-1"), place.ip("web"), 80) == REFUSED


def send_udp(client: Path, address: str, port: int) -> str:
    """What comes of a datagram."""

    def send() -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(3)
            sock.connect((address, port))
            sock.send(b"x")
            try:
                return sock.recv(64).decode()
            except ConnectionRefusedError:
                return REFUSED
            except TimeoutError:
                return LOST

    return frames.within(client, send)


def test_a_headless_service_has_no_rules(place: ServiceLab) -> None:
    """Nor has an alias. One that comes after them has."""
    alias = {"type": "ExternalName", "externalName": "example.com"}
    before = frontends(place)
    place.run(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "alias"}, "spec": alias},
        service("headless", "web", clusterIP="None"), service("after", "web"),
    )  # fmt: skip
    ip = place.ip("after")
    assert eventually(lambda: frontends(place) - before) == {ip}
    place.remove("service/alias", "service/headless", "service/after")


def frontends(place: ServiceLab) -> set[str]:
    """Addresses in both maps of them."""
    text = nft(place, "node-1", "map", "inet", "pinnace", "services_4") + nft(
        place, "node-1", "map", "inet", "pinnace", "services_none_4"
    )
    return set(re.findall(r"([0-9.]+) \. (?:tcp|udp|sctp)", text))


def nft(place: ServiceLab, node: str, *what: str) -> str:
    enter = ["nsenter", f"--net={place.host(node)}", "nft", "list", *(what or ("table", "inet", "pinnace"))]
    return subprocess.run(enter, capture_output=True, text=True, check=True, timeout=30).stdout


def test_several_ports_by_number_and_name(place: ServiceLab) -> None:
    """One number in two protocols leads to two places."""
    ports = [
        {"name": "one", "port": 80, "targetPort": "web"}, {"name": "two", "port": 8000, "targetPort": PORT},
        {"name": "udp", "port": 80, "targetPort": 5353, "protocol": "UDP"},
    ]  # fmt: skip
    place.run(service("many", "alone", ports=ports))
    client, ip = place.of("client-2"), place.ip("many")
    eventually(lambda: place.who(client, ip)[0] == "alone")
    assert place.who(client, ip, 8000)[0] == "alone"
    with echo(place.of("alone"), b"udp"):
        assert send_udp(client, ip, 80) == "udp"
    place.remove("service/many")


@contextlib.contextmanager
def echo(namespace: Path, text: bytes) -> Iterator[None]:
    """A UDP server at port 5353 that answers `text`."""
    program = (
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('', 5353))\nprint(flush=True)\n"
        f"while True: s.sendto({text!r}, s.recvfrom(64)[1])"
    )
    with subprocess.Popen(["nsenter", f"--net={namespace}", "python3", "-c", program], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def routed(place: ServiceLab, address: str, node: str) -> Iterator[None]:
    """The host of the underlay sends to `address` by way of a node."""
    command = ["nsenter", f"--net={place.host('control')}", "ip", "route"]
    way = [f"{address}/32", "via", place.underlay(node)]
    subprocess.run([*command, "add", *way], check=True, timeout=30)
    try:
        yield
    finally:
        subprocess.run([*command, "del", *way], check=True, timeout=30)


def test_external_ips(place: ServiceLab) -> None:
    """Nodes take their traffic; routing it to a node is the user's."""
    place.run(service("external", "web", externalIPs=["203.0.113.9"]))
    with routed(place, "203.0.113.9", "node-2"):
        eventually(lambda: place.names(place.host("control"), "203.0.113.9", times=40) == BACKENDS)
    assert place.names(place.of("client-1"), "203.0.113.9", times=40) == BACKENDS
    place.remove("service/external")


def test_the_address_of_a_load_balancer_and_its_source_ranges(place: ServiceLab) -> None:
    """Clients of other ranges are dropped, at that address alone."""
    balanced = service("balanced", "web", type="LoadBalancer")
    place.run(balanced)
    found = eventually(lambda: place.lab.get("service", "balanced")["status"]["loadBalancer"]["ingress"][0]["ip"])
    control = place.host("control")
    with routed(place, found, "node-3"):
        eventually(lambda: place.names(control, found, times=40) == BACKENDS)
        balanced["spec"]["loadBalancerSourceRanges"] = ["192.0.2.0/24"]
        place.run(balanced)
        eventually(lambda: get(control, found, 80, "/") == LOST)
        assert place.who(control, place.underlay("node-1"), place.node_port("balanced"))[0] in BACKENDS
        balanced["spec"]["loadBalancerSourceRanges"] = ["192.0.2.0/24", "198.51.100.0/24"]
        place.run(balanced)
        eventually(lambda: place.who(control, found)[0] in BACKENDS)
    # Without the address itself, from which the node that answers for it sends.
    balanced["spec"]["loadBalancerSourceRanges"] = ["198.51.100.0/25"]
    place.run(balanced)
    for node in NODES:
        eventually(lambda node=node: place.names(place.host(node), found, times=40) == BACKENDS)
    place.remove("service/balanced")


def test_kubernetes_default_leads_pods_to_the_api(place: ServiceLab) -> None:
    """With the certificate that it has for its names."""
    address = place.ip("kubernetes")
    ca = place.lab.kctl("exec", "client-1", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
    context = ssl.create_default_context(cadata=ca)
    for name in (address, "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"):
        with connect(place.of("client-1"), address, 443) as plain, context.wrap_socket(plain, server_hostname=name) as sock:
            sock.sendall(b"GET /version HTTP/1.0\r\nHost: kubernetes.default\r\n\r\n")
            assert sock.recv(4096).startswith(b"HTTP/1."), name


def crc32c(data: bytes) -> int:
    """RFC 9260, appendix A."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def sctp_init(port: int) -> bytes:
    """A packet with an INIT chunk."""
    chunk = b"\x01\x00\x00\x14" + b"\x00\x00\x00\x01" + b"\x00\x01\x00\x00" + b"\x00\x01\x00\x01" + b"\x00\x00\x00\x01"
    head = (40000).to_bytes(2, "big") + port.to_bytes(2, "big") + bytes(4)
    return head + crc32c(head + bytes(4) + chunk).to_bytes(4, "little") + chunk


def test_sctp_is_led_to_its_port(place: ServiceLab) -> None:
    """Its first packet, from a raw socket: this test needs no kernel with sockets of SCTP."""
    place.run(service("sctp", "alone", ports=[{"port": 132, "targetPort": 1320, "protocol": "SCTP"}]))
    ip = place.ip("sctp")
    eventually(lambda: f"{ip} . sctp . 132" in nft(place, "node-2", "map", "inet", "pinnace", "services_4"))

    def raw() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP)
        sock.settimeout(3)
        return sock

    with frames.within(place.of("alone"), raw) as server, frames.within(place.of("client-2"), raw) as client:
        client.sendto(sctp_init(132), (ip, 0))
        data, (sender, _) = server.recvfrom(2048)
    assert sender == place.address("client-2")
    assert int.from_bytes(data[22:24], "big") == 1320
    place.remove("service/sctp")


def test_an_agent_that_restarts_changes_nothing(place: ServiceLab) -> None:
    """No element, no chain; and it answers while no agent runs."""
    before = nft(place, "node-1")
    place.lab.kill("node-1")
    assert place.names(place.of("client-1"), place.ip("web"), times=40) == BACKENDS
    place.lab.start_agent("node-1")
    place.run(service("later", "web"))
    eventually(lambda: place.ip("later") in frontends(place))
    place.remove("service/later")
    eventually(lambda: nft(place, "node-1") == before)
    assert place.names(place.of("client-1"), place.ip("web"), times=40) == BACKENDS
