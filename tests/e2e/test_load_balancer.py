"""Services of type LoadBalancer on the underlay of a lab: a host that is no node reaches their addresses, whichever node answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cli.lab import layout
from tests.support.labs import LabUnderTest, eventually, pod, running
from tests.support.neighbours import Neighbour, neighbour
from tests.support.outside import run

pytestmark = pytest.mark.root
NODES = ("node-1", "node-2", "node-3")
ANNOUNCED_BY = "pinnace.dev/announced-by"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-lb", tmp_path_factory.mktemp("lb")) as found:
        yield found


@pytest.fixture(scope="module")
def host(lab: LabUnderTest) -> Iterator[Neighbour]:
    with neighbour(lab, f"{layout.SUBNET}.100") as found:
        yield found


def server(node: str) -> dict[str, Any]:
    """A pod that answers with its name."""
    command = ["busybox", "httpd", "-f", "-p", "8080", "-h", "/etc"]
    found = pod(f"web-{node}", container={"command": command}, nodeName=node, terminationGracePeriodSeconds=0)
    found["metadata"]["labels"] = {"app": "web"}
    return found


def balanced(name: str, **spec: Any) -> dict[str, Any]:
    ports = [{"port": 80, "targetPort": 8080}]
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": ports, **spec},
    }  # fmt: skip


def address(lab: LabUnderTest, name: str) -> str:
    return str(lab.get("service", name)["status"]["loadBalancer"]["ingress"][0]["ip"])


def announcer(lab: LabUnderTest, name: str) -> str:
    return str(lab.get("service", name)["metadata"]["annotations"][ANNOUNCED_BY])


def mac(lab: LabUnderTest, node: str) -> str:
    """Of a node on the underlay."""
    namespace = layout.load(lab.name).namespace(node, "net")
    return (
        run("nsenter", f"--net={namespace}", "cat", "/proc/net/dev")
        and run("nsenter", f"--net={namespace}", "ip", "-br", "link", "show", "eth0").split()[2]
    )


@pytest.fixture(scope="module")
def servers(lab: LabUnderTest) -> None:
    lab.apply(*(server(node) for node in NODES))
    lab.kctl("wait", "pod", "-l", "app=web", "--for=condition=Ready", "--timeout=60s")


def test_a_host_of_the_underlay_reaches_the_address(lab: LabUnderTest, host: Neighbour, servers: None) -> None:
    """By ARP, from the node that the Service names; every pod answers."""
    lab.apply(balanced("all"))
    url = f"http://{eventually(lambda: address(lab, 'all'))}/hostname"
    eventually(lambda: host.get(url))
    answers = {host.get(url) for _ in range(40)}
    assert answers == {f"web-{node}\n" for node in NODES}
    assert host.mac_of(address(lab, "all")) == mac(lab, announcer(lab, "all"))


def test_local_traffic_comes_to_a_node_with_a_pod(lab: LabUnderTest, host: Neighbour, servers: None) -> None:
    """And only its pods answer; when the pod goes, another node takes over."""
    lab.apply(balanced("local", externalTrafficPolicy="Local"))
    url = f"http://{eventually(lambda: address(lab, 'local'))}/hostname"
    node = eventually(lambda: announcer(lab, "local"))
    eventually(lambda: host.get(url))
    assert {host.get(url) for _ in range(10)} == {f"web-{node}\n"}
    lab.kctl("delete", "pod", f"web-{node}")
    eventually(lambda: announcer(lab, "local") != node)
    after = announcer(lab, "local")
    eventually(lambda: host.get(url) == f"web-{after}\n")
    lab.kctl("delete", "service", "local")
    lab.apply(server(node))
    lab.kctl("wait", "pod", "-l", "app=web", "--for=condition=Ready", "--timeout=60s")


def test_the_address_goes_with_the_service(lab: LabUnderTest, host: Neighbour, servers: None) -> None:
    """No node answers for it any more, and the next Service gets it."""
    lab.apply(balanced("brief"))
    found = eventually(lambda: address(lab, "brief"))
    eventually(lambda: host.get(f"http://{found}/hostname"))
    lab.kctl("delete", "service", "brief")
    run("nsenter", f"--net={host.namespace}", "ip", "neighbour", "flush", "all")
    eventually(lambda: host.get(f"http://{found}/hostname", within=0.5) is None and not host.mac_of(found))
    lab.apply(balanced("next"))
    eventually(lambda: address(lab, "next") == found)
    lab.kctl("delete", "service", "next")


def test_another_node_takes_over_from_one_that_fails(lab: LabUnderTest, host: Neighbour, servers: None) -> None:
    """As soon as it is NotReady; the host sends to the new one at once, as that announces itself."""
    lab.apply(balanced("kept"))
    found = eventually(lambda: address(lab, "kept"))
    url = f"http://{found}/hostname"
    eventually(lambda: host.get(url))
    first = announcer(lab, "kept")
    lab.lab("node", "stop", first)
    try:
        second = eventually(lambda: announcer(lab, "kept") not in ("", first) and announcer(lab, "kept"), within=60)
        # Pods of the node that failed have no traffic either.
        eventually(lambda: all(host.get(url, within=1.0) for _ in range(20)), within=60)
        assert host.mac_of(found) == mac(lab, second)
    finally:
        lab.lab("node", "start", first)
    lab.kctl("wait", f"node/{first}", "--for=condition=Ready", "--timeout=60s")
    assert announcer(lab, "kept") == second
