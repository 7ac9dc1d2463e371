"""What answers at the addresses of a node: at those of load balancers only their Services, at others NodePorts where it is told."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import frames
from tests.support.dualstack import by_family
from tests.support.labs import eventually, pod, running
from tests.support.outside import run
from tests.support.servicelab import PORT, REFUSED, ServiceLab, backend, get, service

pytestmark = pytest.mark.root
FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
DAEMON, HOST_PORT = 2222, 8082
# Further addresses of both nodes: in the networks whose addresses answer at NodePorts, and not.
INSIDE, OUTSIDE = "198.51.100.150", "203.0.113.5"


class Place(ServiceLab):
    """A Service of type LoadBalancer in both families, whose addresses `node` announces."""

    def begin(self) -> None:
        port = {"ports": [{"containerPort": PORT, "hostPort": HOST_PORT}]}
        self.run(
            *(backend(f"web-{n}", f"node-{n}", "web", container=port) for n in (1, 2)),
            *(pod(f"client-{n}", nodeName=f"node-{n}") for n in (1, 2)),
            service("web", type="LoadBalancer", ipFamilyPolicy="RequireDualStack"),
        )
        found: dict[str, Any] = eventually(self._balanced)
        self.vip = by_family([item["ip"] for item in found["status"]["loadBalancer"]["ingress"]])
        self.node = str(found["metadata"]["annotations"]["pinnace.dev/announced-by"])
        addresses = self.lab.get("node", self.node)["status"]["addresses"]
        self.own = by_family([item["address"] for item in addresses if item["type"] == "InternalIP"])
        self.client = self.of(self.node.replace("node", "client"))

    def _balanced(self) -> dict[str, Any] | None:
        found: dict[str, Any] = self.lab.get("service", "web")
        return found if "pinnace.dev/announced-by" in found["metadata"].get("annotations", {}) else None

    def answers(self, client: Path, address: str, port: int = 80) -> str:
        """The kind of pod that does, REFUSED or LOST."""
        return self.who(client, address, port)[0].partition("-")[0]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    agent = ("--nodeport-addresses=198.51.100.0/24,::/0",)
    with running(
        "t-vips", tmp_path_factory.mktemp("vips"), nodes=2, up=("--ip-family", "dual"), agent=agent
    ) as lab:  # fmt: skip
        found = Place(lab)
        found.begin()
        yield found


@contextlib.contextmanager
def daemon(namespace: Path) -> Iterator[None]:
    """Listens at every address of a node."""

    def listen() -> socket.socket:
        return socket.create_server(("::", DAEMON), family=socket.AF_INET6, dualstack_ipv6=True)

    with frames.within(namespace, listen):
        yield


def connects(client: Path, address: str, port: int) -> str:
    """Empty, or why not."""

    def dial() -> str:
        try:
            with socket.create_connection((address, port), 3):
                return ""
        except ConnectionRefusedError:
            return REFUSED
        except OSError as error:
            return str(error)

    return frames.within(client, dial)


@FAMILIES
def test_only_the_service_answers_at_an_address_of_a_load_balancer(place: Place, family: int) -> None:
    """No daemon of the node that announces it, no host port and no NodePort: not of other hosts, pods, or the node itself."""
    vip, own, control = place.vip[family], place.own[family], place.host("control")
    node_port = place.node_port("web")
    eventually(lambda: place.answers(control, vip) == "web")
    with daemon(place.host(place.node)):
        for client in (control, place.client, place.host(place.node)):
            assert place.answers(client, vip) == "web"
            for port in (DAEMON, HOST_PORT, node_port, 81):
                assert connects(client, vip, port) == REFUSED, (client, port)
            for port in (DAEMON, HOST_PORT, node_port):
                assert connects(client, own, port) == "", (client, port)


@FAMILIES
def test_an_address_of_a_load_balancer_answers_echo_requests(place: Place, family: int) -> None:
    """And neighbours that ask for it, also by unicast."""
    enter, vip = ("nsenter", f"--net={place.host('control')}"), place.vip[family]
    assert "1 packets received" in run(*enter, "busybox", "ping", "-c", "1", "-W", "3", vip)
    run(*enter, "ip", "neighbour", "change", vip, "dev", "eth0", "nud", "probe")
    eventually(lambda: json.loads(run(*enter, "ip", "-j", "neighbour", "show", vip))[0]["state"] == ["REACHABLE"])


def test_another_service_may_share_a_port_of_the_node(place: Place) -> None:
    """What another Service has at the address of the load balancer, as an external IP, is its."""
    vip, control = place.vip[4], place.host("control")
    ports = [{"port": 90, "targetPort": PORT}]
    place.run(service("more", "web", externalIPs=[vip], ports=ports))
    eventually(lambda: place.answers(control, vip, 90) == "web")
    place.remove("service/more")
    eventually(lambda: get(control, vip, 90, "/") == REFUSED)


def test_node_ports_answer_in_the_networks_of_the_flag(place: Place) -> None:
    """Of further addresses of a node; in a family without a network it would be the node's own."""
    enter, port = ("nsenter", f"--net={place.host('node-1')}"), place.node_port("web")
    control = place.host("control")
    for address in (INSIDE, OUTSIDE):
        run(*enter, "ip", "address", "add", f"{address}/32", "dev", "eth0")
    run("nsenter", f"--net={control}", "ip", "route", "add", OUTSIDE, "via", place.underlay("node-1"))
    with daemon(place.host("node-1")):
        for address, expected in ((INSIDE, "web"), (place.underlay("node-1"), "web"), (OUTSIDE, REFUSED)):
            assert connects(control, address, DAEMON) == ""
            assert place.answers(control, address, port) == expected
