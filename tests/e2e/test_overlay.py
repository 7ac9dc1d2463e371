"""The overlay: pods reach each other across hosts by their own addresses, and nothing leaks out of it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import frames, sctp
from tests.support.labs import SLEEP, LabUnderTest, eventually, pod

pytestmark = pytest.mark.root
NODES = ("node-1", "node-2", "node-3")


def on(lab: LabUnderTest, host: str, *command: str) -> str:
    namespace = f"/run/pinnace/labs/{lab.name}/ns/{host}.net"
    return subprocess.run(
        ["nsenter", f"--net={namespace}", *command], capture_output=True, text=True, check=True, timeout=20
    ).stdout


@pytest.fixture(scope="module")
def addresses(lab: LabUnderTest) -> Iterator[dict[str, str]]:
    """A pod on each node, and its address."""
    lab.apply(*(pod(f"at-{node}", nodeSelector={"kubernetes.io/hostname": node}) for node in NODES))
    lab.kctl("wait", "pod", *(f"at-{node}" for node in NODES), "--for=condition=Ready")
    yield {node: lab.get("pod", f"at-{node}")["status"]["podIP"] for node in NODES}
    lab.kctl("delete", "pod", *(f"at-{node}" for node in NODES), "--now")


def test_every_pod_reaches_every_other(lab: LabUnderTest, addresses: dict[str, str]) -> None:
    """Nine pairs, large packets included, which the MTU must carry."""
    for source in NODES:
        for target in NODES:
            said = lab.kctl("exec", f"at-{source}", "--", "ping", "-c", "1", "-W", "5", "-s", "1400", addresses[target])
            assert "1 packets received" in said, (source, target)


def test_pods_see_each_others_own_address(lab: LabUnderTest, addresses: dict[str, str]) -> None:
    """No translation inside the cluster: the other end sees the pod's address."""
    listen = "nc -l -p 9000 -e sh -c 'echo $NCAT_REMOTE_ADDR; netstat -tn | grep :9000'"
    lab.run("exec", "at-node-1", "--", "sh", "-c", f"({listen}) >/tmp/out 2>&1 & sleep 0.1")
    said = eventually(
        lambda: lab.run("exec", "at-node-2", "--", "sh", "-c", f"nc {addresses['node-1']} 9000 </dev/null").stdout
    )
    assert addresses["node-2"].encode() in said


def test_kernel_holds_one_entry_of_each_kind_for_a_peer(lab: LabUnderTest, addresses: dict[str, str]) -> None:
    """Two peers: two routes, two neighbours, two FDB entries, a blackhole, no learning."""
    routes = on(lab, "node-1", "ip", "route")
    assert routes.count("dev pinnace-vx proto") == 2
    assert "blackhole 10.244.0.0/16" in routes
    assert on(lab, "node-1", "ip", "neigh", "show", "dev", "pinnace-vx").count("PERMANENT") == 2
    assert on(lab, "node-1", "bridge", "fdb", "show", "dev", "pinnace-vx").count("dst 198.51.100.") == 2
    assert "nolearning" in on(lab, "node-1", "ip", "-d", "link", "show", "pinnace-vx")


def test_entries_that_vanish_are_put_back(lab: LabUnderTest, addresses: dict[str, str]) -> None:
    """Flushed by hand, they return with the next look, which any change of the peers brings forward."""
    on(lab, "node-1", "ip", "neigh", "flush", "dev", "pinnace-vx", "nud", "permanent")
    on(lab, "node-1", "ip", "route", "flush", "dev", "pinnace-vx")
    eventually(lambda: on(lab, "node-1", "ip", "route").count("dev pinnace-vx proto") == 2, within=60)
    lab.kctl("exec", "at-node-1", "--", "ping", "-c", "1", "-W", "5", addresses["node-3"])


def test_unassigned_cluster_addresses_go_nowhere(lab: LabUnderTest, addresses: dict[str, str]) -> None:
    """Refused on the node instead of leaving by a default route."""
    result = lab.run("exec", "at-node-1", "--", "ping", "-c", "1", "-W", "2", "10.244.200.7")
    assert result.returncode == 1
    said = result.stdout + result.stderr
    assert b"0 packets received" in said


def test_cut_cable_separates_and_healing_rejoins(lab: LabUnderTest, addresses: dict[str, str]) -> None:
    """`lab node cut` and `heal` act on the underlay."""
    lab.kctl("lab", "node", "cut", "node-3", "--name", lab.name)
    try:
        assert lab.run("exec", "at-node-1", "--", "ping", "-c", "1", "-W", "1", addresses["node-3"]).returncode == 1
    finally:
        lab.kctl("lab", "node", "heal", "node-3", "--name", lab.name)
    eventually(lambda: lab.run("exec", "at-node-1", "--", "ping", "-c", "1", "-W", "1", addresses["node-3"]).returncode == 0)
    lab.kctl("wait", "node/node-3", "--for=condition=Ready", "--timeout=30s")


def test_node_of_a_stopped_host_leaves_ready_and_returns(lab: LabUnderTest) -> None:
    """A node is added, stopped, seen NotReady, started, and removed; the peers follow."""
    lab.kctl("lab", "node", "add", "--name", lab.name)
    eventually(lambda: on(lab, "node-1", "ip", "route").count("dev pinnace-vx proto") == 3)
    lab.kctl("lab", "node", "stop", "node-4", "--name", lab.name)
    eventually(lambda: "NotReady" in lab.kctl("get", "node", "node-4"), within=40)
    lab.kctl("lab", "node", "start", "node-4", "--name", lab.name)
    assert "NotReady" not in lab.kctl("get", "node", "node-4")
    lab.kctl("lab", "node", "remove", "node-4", "--name", lab.name)
    eventually(lambda: on(lab, "node-1", "ip", "route").count("dev pinnace-vx proto") == 2)


@pytest.fixture
def _gone(lab: LabUnderTest) -> Iterator[None]:
    yield
    lab.kctl("delete", "pod", "served", "client", "--now", "--ignore-not-found")


SERVE = f"mkdir /www; echo page > /www/index.html; httpd -p 8080 -h /www; {SLEEP}"


@pytest.mark.shows("spec.containers[].ports[].{hostPort,hostIP}")
@pytest.mark.usefixtures("_gone")
def test_a_host_port_leads_to_its_pod(lab: LabUnderTest) -> None:
    """From the node itself, from a pod beside it, from itself, and from another node; by every address or by one; and
    still after the agent was killed. It goes with its pod."""
    address = {item["metadata"]["name"]: item["status"]["addresses"][0]["address"] for item in lab.get("nodes")["items"]}
    ports = [
        {"containerPort": 8080, "hostPort": 18080},
        {"name": "one", "containerPort": 8080, "hostPort": 18081, "hostIP": address["node-1"]},
        {"name": "none", "containerPort": 8080, "hostPort": 18082, "hostIP": "192.0.2.99"},
    ]
    served = pod("served", "sh", "-c", SERVE, nodeName="node-1", container={"ports": ports})
    lab.apply(served, pod("client", nodeName="node-1"))
    lab.kctl("wait", "pod", "served", "client", "--for=condition=Ready", "--timeout=30s")

    def page(port: int) -> list[str]:
        url = ["timeout", "5", "wget", "-q", "-O", "-", f"http://{address['node-1']}:{port}/index.html"]
        return [
            on(lab, "node-1", *url), on(lab, "node-2", *url),
            lab.kctl("exec", "client", "--", *url), lab.kctl("exec", "served", "--", *url),
        ]  # fmt: skip

    for port in (18080, 18081):
        assert eventually(lambda port=port: page(port)) == ["page\n"] * 4
    with pytest.raises(subprocess.CalledProcessError):
        on(lab, "node-1", "timeout", "5", "wget", "-q", "-O", "-", f"http://{address['node-1']}:18082/")
    lab.kill("node-1")
    lab.start_agent("node-1")
    eventually(lambda: lab.run("exec", "client", "--", "true").returncode == 0)
    assert page(18080) == ["page\n"] * 4
    lab.kctl("delete", "pod", "served", "--now")
    assert "18080" not in on(lab, "node-1", "nft", "list", "table", "inet", "pinnace")


def test_a_host_port_answers_on_localhost(lab: LabUnderTest, addresses: dict[str, str]) -> None:
    """To the node's own processes; from elsewhere 127.0.0.1 is somebody else's."""
    serve = "mkdir -p /www; echo itself > /www/index.html; exec httpd -f -p 8080 -h /www"
    ports = {
        "ports": [{"containerPort": 8080, "hostPort": 18090}, {"containerPort": 8080, "hostPort": 18091, "hostIP": "127.0.0.1"}]
    }
    lab.apply(pod("local", "sh", "-c", serve, nodeName="node-1", container=ports))
    lab.kctl("wait", "pod/local", "--for=condition=Ready")
    try:
        for port in (18090, 18091):
            found = eventually(lambda port=port: on(lab, "node-1", "timeout", "5", "wget", "-qO-", f"http://127.0.0.1:{port}/"))
            assert found == "itself\n"
        inside = f"/proc/{lab.state(lab.pods()['local'])['pid']}/ns/net"
        refused = ["nsenter", f"--net={inside}", "timeout", "3", "wget", "-qO-", "http://127.0.0.1:18090/"]
        assert subprocess.run(refused, capture_output=True, check=False).returncode != 0
    finally:
        lab.kctl("delete", "pod", "local", "--now")


def test_a_host_port_of_sctp_leads_to_its_pod(lab: LabUnderTest, addresses: dict[str, str]) -> None:
    """From another node and from the node's own processes; the kernel here has no sockets of SCTP, so the packet is made by hand."""
    ports = [{"containerPort": 5060, "hostPort": 15060, "protocol": "SCTP"}, {"containerPort": 5061, "hostPort": 15060}]
    lab.apply(pod("sctp", nodeName="node-1", container={"ports": ports}))
    item = eventually(lambda: lab.all_running(["sctp"]))["sctp"]
    inside = Path(f"/proc/{lab.state(item)['pid']}/ns/net")
    target = next(a["address"] for a in lab.get("node", "node-1")["status"]["addresses"] if a["type"] == "InternalIP")
    try:
        with frames.within(inside, sctp.listening) as sock:
            for node in ("node-2", "node-1"):
                frames.within(Path(f"/run/pinnace/labs/{lab.name}/ns/{node}.net"), lambda: sctp.send_init(target, 15060))
                assert sctp.received_port(sock) == 5060
    finally:
        lab.kctl("delete", "pod", "sctp", "--now")


@contextlib.contextmanager
def echo(namespace: Path, address: str, text: bytes) -> Iterator[None]:
    """A UDP server in a namespace that answers `text`."""

    def bind() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, 5353))
        sock.settimeout(0.1)
        return sock

    ending = threading.Event()

    def answer(sock: socket.socket) -> None:
        while not ending.is_set():
            with contextlib.suppress(OSError):
                sock.sendto(text, sock.recvfrom(64)[1])

    with frames.within(namespace, bind) as sock:
        thread = threading.Thread(target=answer, args=(sock,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            # Before the socket is closed: the thread would read from another one that gets its file descriptor.
            ending.set()
            thread.join(10)


def test_a_udp_client_reaches_the_pod_that_has_the_host_port_now(lab: LabUnderTest, addresses: dict[str, str]) -> None:
    """It never stops sending from one port, so the kernel would remember where its packets went before."""
    port = {"ports": [{"containerPort": 5353, "hostPort": 15353, "protocol": "UDP"}]}
    client = frames.within(
        Path(f"/run/pinnace/labs/{lab.name}/ns/node-2.net"), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    )
    client.settimeout(0.2)
    target = (next(a["address"] for a in lab.get("node", "node-1")["status"]["addresses"] if a["type"] == "InternalIP"), 15353)

    def heard() -> bytes:
        with contextlib.suppress(TimeoutError, OSError):
            client.sendto(b"x", target)
            return client.recv(64)
        return b""

    with client:
        heard()
        for text in (b"first", b"second"):
            lab.apply(pod("udp", nodeName="node-1", container=port))
            item = eventually(lambda: lab.all_running(["udp"]))["udp"]
            namespace = Path(f"/proc/{lab.state(item)['pid']}/ns/net")
            with echo(namespace, item["status"]["podIP"], text):
                eventually(lambda text=text: heard() == text, within=10)
            lab.kctl("delete", "pod", "udp", "--now", "--wait=true")
            for _ in range(5):
                heard()
