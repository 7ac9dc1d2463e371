"""Which endpoint a client gets: traffic policies, affinity, hints, and endpoints that come and go under traffic."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nodeagent.network.services.names import Family, Names, group_of
from tests.support import frames
from tests.support.labs import PATIENCE as SLOWNESS
from tests.support.labs import LabUnderTest, eventually, pod, running
from tests.support.netreport import explained
from tests.support.nodenet import NodeNet
from tests.support.servicelab import LOST, PORT, REFUSED, ServiceLab, backend, connect, fetch, get, service

pytestmark = pytest.mark.root
NODES = ("node-1", "node-2", "node-3")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceLab]:
    """Backends on two of three nodes, a client on each; `control` is a host of the underlay that is no node."""
    with running("t-endpoints", tmp_path_factory.mktemp("endpoints")) as lab:
        found = ServiceLab(lab)
        found.run(
            backend("web-1", "node-1", "web"), backend("web-2", "node-2", "web"),
            *(pod(f"client-{node[-1]}", nodeName=node) for node in NODES),
        )  # fmt: skip
        yield found


@contextlib.contextmanager
def serving(place: ServiceLab, name: str, app: str = "web", **spec: Any) -> Iterator[str]:
    """A Service for as long as it is used; yields its cluster IP."""
    place.run(service(name, app, **spec))
    try:
        yield place.ip(name)
    finally:
        place.remove(f"service/{name}")


def test_internal_traffic_policy_local(place: ServiceLab) -> None:
    """Endpoints of the client's node alone; dropped where it has none."""
    with serving(place, "internal", internalTrafficPolicy="Local") as ip:
        for node in NODES[:2]:
            eventually(lambda node=node: place.names(place.of(f"client-{node[-1]}"), ip) == {f"web-{node[-1]}"})
            assert place.names(place.host(node), ip) == {f"web-{node[-1]}"}
        assert get(place.of("client-3"), ip, 80, "/") == LOST


def test_external_traffic_policy_local(place: ServiceLab) -> None:
    """Clients from outside keep their address, and reach the node's own endpoints; pods and processes of a node reach all."""
    control = place.host("control")
    with serving(place, "external", type="LoadBalancer", externalTrafficPolicy="Local"):
        port = place.node_port("external")
        for number in (1, 2):
            node = place.underlay(f"node-{number}")
            eventually(lambda node=node, number=number: place.names(control, node, port) == {f"web-{number}"})
            assert place.who(control, node, port)[1] == node.rpartition(".")[0] + ".1"
        third = place.underlay("node-3")
        assert get(control, third, port, "/") == LOST
        for client in (place.of("client-3"), place.host("node-3")):
            assert place.names(client, third, port) == {"web-1", "web-2"}
        for number, (status, count) in enumerate([(200, 1), (200, 1), (503, 0)], start=1):
            assert health(place, f"node-{number}") == (status, count)
    assert get(control, third, port, "/") == REFUSED


def test_both_traffic_policies_local(place: ServiceLab) -> None:
    """Pods and processes of a node still reach all endpoints by a NodePort; by the cluster IP those of the node alone."""
    with serving(place, "both", type="NodePort", externalTrafficPolicy="Local", internalTrafficPolicy="Local") as ip:
        third, port = place.underlay("node-3"), place.node_port("both")
        for client in (place.of("client-3"), place.host("node-3")):
            eventually(lambda client=client: place.names(client, third, port) == {"web-1", "web-2"})
        assert get(place.host("control"), third, port, "/") == LOST
        assert get(place.of("client-3"), ip, 80, "/") == LOST


def health(place: ServiceLab, node: str) -> tuple[int, int]:
    """Status and number of endpoints that a load balancer gets."""
    port = int(place.lab.get("service", "external")["spec"]["healthCheckNodePort"])
    with connect(place.host("control"), place.underlay(node), port) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = b"".join(iter(lambda: sock.recv(4096), b"")).partition(b"\r\n\r\n")
    found = json.loads(body)
    assert found["service"] == {"namespace": "default", "name": "external"}
    return int(head.split()[1]), int(found["localEndpoints"])


def test_traffic_stays_in_the_zone_or_on_the_node(place: ServiceLab) -> None:
    """By hints that follow from trafficDistribution and labels of nodes, which may change while agents are connected."""
    label = ["label", "node", "--overwrite"]
    for node, zone in zip(NODES, ("a", "b", "b"), strict=True):
        place.lab.kctl(*label, node, f"topology.kubernetes.io/zone={zone}")
    with serving(place, "near", trafficDistribution="PreferSameZone") as ip:
        for client, name in (("client-1", "web-1"), ("client-3", "web-2")):
            eventually(lambda client=client, name=name: place.names(place.of(client), ip) == {name})
    with serving(place, "nearest", trafficDistribution="PreferSameNode") as ip:
        for client, names in (("client-1", {"web-1"}), ("client-2", {"web-2"}), ("client-3", {"web-2"})):
            eventually(lambda client=client, names=names: place.names(place.of(client), ip) == names)
    for node in NODES:
        place.lab.kctl(*label, node, "topology.kubernetes.io/zone-")


STICKY = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}}}


def test_a_client_stays_with_its_endpoint(place: ServiceLab) -> None:
    """While others come and go; not the client's own. Another restart of the agent does not lose it either."""
    place.run(*(backend(f"sticky-{number}", "node-2", "sticky") for number in (1, 2, 3)))
    with serving(place, "sticky", "sticky", **STICKY) as ip:
        client = place.of("client-1")
        own = eventually(lambda: name if (name := place.who(client, ip)[0]) in place.pods else None)
        assert place.names(client, ip) == {own}
        others = sorted({f"sticky-{number}" for number in (1, 2, 3)} - {own})
        place.remove(f"pod/{others[0]}")
        place.run(backend("sticky-4", "node-3", "sticky"))
        assert place.names(client, ip) == {own}
        place.lab.kill("node-1")
        place.lab.start_agent("node-1")
        place.remove(f"pod/{others[1]}")
        assert place.names(client, ip) == {own}
        place.remove(f"pod/{own}")
        eventually(lambda: place.names(client, ip) == {"sticky-4"})
    place.remove("pod/sticky-4")


def test_clients_of_one_namespace_do_not_fill_the_sets_of_another(place: ServiceLab, tmp_path: Path) -> None:
    """Where one has used up its share, its further clients are still answered, and those of another stay with their endpoint."""
    other = service("web", **STICKY)
    other["metadata"]["namespace"] = "other"
    del other["spec"]["selector"]
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "ports": [{"port": PORT}],
        "metadata": {"name": "web-1", "namespace": "other", "labels": {"kubernetes.io/service-name": "web"}},
        "endpoints": [{"addresses": [place.address(name)]} for name in ("web-1", "web-2")],
    }  # fmt: skip
    place.lab.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}, other, slice_)
    theirs = str(place.lab.get("service", "web", "-n", "other")["spec"]["clusterIP"])
    client, net, group = place.of("client-3"), NodeNet(place.lab, "node-3"), group_of("default/full")
    with serving(place, "full", "web", **STICKY) as ip:
        keys = ", ".join(f"172.16.{n >> 8}.{n & 255} . {ip} . tcp . 80 timeout 600s" for n in range(1 << 16))
        for number in (0, 1):
            name = Names(Family(4), "cluster").seen(number, group)
            eventually(lambda name=name: name in net.on("nft", "-t", "list", "table", "inet", "pinnace"))
            (tmp_path / name).write_text(f"add element inet pinnace {name} {{ {keys} }}\n")
            net.on("nft", "-f", str(tmp_path / name))
        assert place.names(client, ip) == {"web-1", "web-2"}
        eventually(lambda: place.names(client, theirs) in ({"web-1"}, {"web-2"}))
    place.lab.kctl("delete", "namespace", "other")


def test_affinity_ends_after_its_timeout(place: ServiceLab) -> None:
    short = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}}
    with serving(place, "short", **short) as ip:
        client = place.of("client-3")
        eventually(lambda: place.names(client, ip, times=5) <= {"web-1", "web-2"})
        seen = set()

        def both() -> bool:
            time.sleep(1.2)
            seen.add(place.who(client, ip)[0])
            return seen == {"web-1", "web-2"}

        eventually(both, within=60)


def test_pods_that_are_not_ready(place: ServiceLab) -> None:
    """They get nothing, unless the Service publishes them."""
    unready = {"readinessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1}}
    place.lab.apply(backend("unready", "node-1", "unready", container=unready))
    with (
        serving(place, "unready", "unready") as ip,
        serving(place, "published", "unready", publishNotReadyAddresses=True) as published,
    ):
        eventually(lambda: place.who(place.of("client-2"), published)[0] == "unready", within=60)
        assert get(place.of("client-2"), ip, 80, "/") == REFUSED
    place.remove("pod/unready")


def answered_by(place: ServiceLab, client: Path, ip: str, names: set[str]) -> bool:
    return place.names(client, ip) == names


def test_endpoints_that_a_user_writes(place: ServiceLab) -> None:
    """Of a Service without a selector: packets follow the mirror of them, as it changes, and are refused without one."""
    ports = [{"port": 80, "targetPort": PORT}]
    place.run({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "by-hand"}, "spec": {"ports": ports}})
    client, ip = place.of("client-3"), place.ip("by-hand")
    try:
        assert place.names(client, ip, times=3) == {REFUSED}
        for names in (["web-1"], ["web-1", "web-2"], ["web-2"]):
            subset = {"addresses": [{"ip": place.address(name)} for name in names], "ports": [{"port": PORT}]}
            place.run({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "by-hand"}, "subsets": [subset]})
            eventually(partial(answered_by, place, client, ip, set(names)))
        place.remove("endpoints/by-hand")
        eventually(lambda: place.names(client, ip, times=3) == {REFUSED})
    finally:
        place.remove("service/by-hand", "endpoints/by-hand")


def test_a_udp_client_that_never_stops_is_led_to_the_endpoint_that_is_there(place: ServiceLab) -> None:
    """From before the first endpoint exists, and over a replacement; its packets have one source port."""
    udp = [{"port": 53, "targetPort": 5353, "protocol": "UDP"}]
    with serving(place, "udp", "udp", ports=udp, type="NodePort") as ip:
        port = place.node_port("udp")
        clients = [(place.of("client-1"), (ip, 53)), (place.host("control"), (place.underlay("node-2"), port))]
        with contextlib.ExitStack() as stack:
            asks = [stack.enter_context(asking(*client)) for client in clients]
            for ask in asks:
                assert ask() == b""
            for name in ("udp-1", "udp-2"):
                place.run(pod(name, nodeName="node-2") | {"metadata": {"name": name, "labels": {"app": "udp"}}})
                with echo(place.of(name), name.encode()):
                    for ask in asks:
                        eventually(lambda ask=ask, name=name: ask() == name.encode())
                    place.remove(f"pod/{name}")


@contextlib.contextmanager
def asking(client: Path, target: tuple[str, int]) -> Iterator[Callable[[], bytes]]:
    """A UDP socket; what it yields sends and returns an answer."""
    with frames.within(client, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.settimeout(0.2)

        def ask() -> bytes:
            with contextlib.suppress(OSError):
                sock.sendto(b"x", target)
                return sock.recv(64)
            return b""

        yield ask


@contextlib.contextmanager
def echo(namespace: Path, text: bytes) -> Iterator[None]:
    """A UDP server at port 5353 that answers `text`."""

    def bind() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("", 5353))
        return sock

    def answer(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            # Without a sender once it is shut down.
            while sender := sock.recvfrom(64)[1]:
                sock.sendto(text, sender)

    with frames.within(namespace, bind) as sock:
        threading.Thread(target=answer, args=(sock,), daemon=True).start()
        yield


@pytest.mark.timeout(300 * SLOWNESS)
def test_answers_to_half_closed_connections_may_take_long(place: ServiceLab) -> None:
    """Nodes track them for an hour, not for the kernel's minute; an administrator may choose more."""
    setting, node = Path("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait"), place.host("node-3")
    assert frames.within(node, setting.read_text).strip() == "3600"
    for before, after in (("7200", "7200"), ("60", "3600")):
        frames.within(node, lambda before=before: setting.write_text(before))
        place.lab.kill("node-3")
        place.lab.start_agent("node-3")
        with explained(place.lab, "node-3"):
            eventually(lambda: verified(place.lab, "node-3"))
        assert frames.within(node, setting.read_text).strip() == after


def verified(lab: LabUnderTest, node: str) -> bool:
    """AssertionError with the differences and problems that the command prints."""
    done = lab.run("net", "verify", "--node", node)
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
    return True


@pytest.mark.parametrize("client", ["client-1", "client-3"])
def test_late_packets_of_an_endpoint_do_not_reach_its_client_untranslated(place: ServiceLab, client: str) -> None:
    """The client does not know the endpoint's own address: its answer would reset the connection."""
    place.run(backend("late", "node-1"))
    with serving(place, "late", "late") as ip, eventually(lambda: connected(place, client, ip)) as sock:
        target = sock.getsockname()[:2]
        with frames.captured(place.of(client), "eth0") as seen:
            frames.send_late(place.of("late"), (place.address("late"), PORT), target, b"out of the window")
            found = seen()
        senders = {socket.inet_ntoa(frame[26:30]) for frame in found if b"out of the window" in frame}
        # What is only too old is translated, and ignored by the client.
        assert senders == {ip}
        assert fetch(sock, "/cgi-bin/who").split()[0] == "late"


def connected(place: ServiceLab, client: str, ip: str) -> socket.socket | None:
    with contextlib.suppress(OSError):
        return connect(place.of(client), ip, 80)
    return None


def test_established_connections_outlive_changes(place: ServiceLab) -> None:
    """Of an endpoint that is no longer one, over a restart of the agent, and over the Service's end; new ones go elsewhere."""
    place.run(service("lasting", "web"))
    ip, client = place.ip("lasting"), place.of("client-3")
    eventually(lambda: place.names(client, ip) == {"web-1", "web-2"})
    with connect(client, ip, 80) as sock:
        place.lab.kctl("label", "pod", "web-1", "web-2", "app=other", "--overwrite")
        eventually(lambda: get(client, ip, 80, "/") == REFUSED)
        place.lab.kill("node-3")
        place.lab.start_agent("node-3")
        place.remove("service/lasting")
        assert fetch(sock, "/cgi-bin/who").split()[0] in ("web-1", "web-2")
    place.lab.kctl("label", "pod", "web-1", "web-2", "app=web", "--overwrite")


class Load:
    """Requests, one after the other on each of some threads, until it is stopped; `failures` are those that were not answered."""

    def __init__(self, client: Path, address: str, *, threads: int = 3) -> None:
        self.answers, self.failures = 0, list[str]()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(client, address)) for _ in range(threads)]

    def _run(self, client: Path, address: str) -> None:
        while not self._stop.is_set():
            answer = get(client, address, 80, "/cgi-bin/who")
            if answer in (LOST, REFUSED):
                self.failures.append(answer)
            else:
                self.answers += 1
            # Bounded: some hundred requests a second.
            time.sleep(0.005)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)


DEPLOYED: dict[str, Any] = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "rolled"},
    "spec": {
        "replicas": 3, "selector": {"matchLabels": {"app": "rolled"}},
        "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {"metadata": {"labels": {"app": "rolled"}}},
    },
}  # fmt: skip


def deployment(lab: LabUnderTest, version: str) -> None:
    """Its pods serve while they terminate, for a second: as those of careful users do."""
    spec = backend("x", "", "rolled", terminationGracePeriodSeconds=10)["spec"]
    del spec["nodeName"]
    container = spec["containers"][0]
    container["env"] = [{"name": "VERSION", "value": version}]
    container["lifecycle"] = {"preStop": {"sleep": {"seconds": 2}}}
    made = json.loads(json.dumps(DEPLOYED))
    made["spec"]["template"]["spec"] = spec
    lab.apply(made)
    lab.kctl("rollout", "status", "deployment/rolled", "--timeout=90s")


def test_a_rolling_replacement_loses_no_request(place: ServiceLab) -> None:
    """Under load of a pod and of a node, while every pod is replaced."""
    deployment(place.lab, "1")
    with serving(place, "rolled", "rolled") as ip:
        eventually(lambda: place.who(place.of("client-1"), ip)[0].startswith("rolled"))
        before = {name for name in place.lab.pods() if name.startswith("rolled")}
        with Load(place.of("client-1"), ip) as first, Load(place.host("node-2"), ip) as second:
            deployment(place.lab, "2")
            eventually(lambda: not before & place.lab.pods().keys(), within=60)
        assert (first.failures, second.failures) == ([], [])
        assert min(first.answers, second.answers) > 50
    place.remove("deployment/rolled")


def test_changes_of_endpoints_lose_no_new_connection(place: ServiceLab) -> None:
    """Endpoints are added and removed as fast as they can be written, by hand."""
    place.lab.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "churned"},
            "spec": {"ports": [{"port": 80, "targetPort": PORT}]},
        }
    )
    every = [place.address("web-1"), place.address("web-2")]

    def endpoints(addresses: list[str]) -> dict[str, Any]:
        return {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "churned", "labels": {"kubernetes.io/service-name": "churned"}},
            "ports": [{"port": PORT, "protocol": "TCP"}], "endpoints": [{"addresses": [item]} for item in addresses],
        }  # fmt: skip

    place.lab.apply(endpoints(every))
    client, ip = place.of("client-3"), place.ip("churned")
    eventually(lambda: place.names(client, ip) == {"web-1", "web-2"})
    with Load(client, ip) as load:
        for number in range(12):
            place.lab.apply(endpoints([every[:1], every[1:], every][number % 3]))
    assert load.failures == []
    assert load.answers > 50
    place.remove("service/churned", "endpointslice/churned")
