"""A cluster whose VNI, VXLAN port and ranges are none of the defaults, and nodes of it that return with another pod CIDR."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.frames import captured
from tests.support.labs import LabUnderTest, eventually, pod, running
from tests.support.nodenet import NodeNet

pytestmark = pytest.mark.root
VNI, PORT = 70_000, 4790
PODS, SERVICES = "10.71.0.0/16", "10.72.0.0/16"
# Of a UDP datagram in an Ethernet frame with an IPv4 header without options.
TYPE, PROTOCOL, TARGET_PORT, PAYLOAD = slice(12, 14), 23, slice(36, 38), 42


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    flags = (f"--vni={VNI}", f"--vxlan-port={PORT}", f"--cluster-cidr={PODS}", f"--service-cluster-ip-range={SERVICES}")
    with running("netflags", tmp_path_factory.mktemp("netflags"), nodes=2, arguments=flags) as lab:
        lab.apply(pod("here", nodeName="node-1"), pod("there", nodeName="node-2"))
        eventually(lambda: lab.all_running(["here", "there"]))
        yield lab


def address(lab: LabUnderTest, name: str) -> str:
    return str(lab.get("pod", name)["status"]["podIP"])


def reached(lab: LabUnderTest, target: str) -> bool:
    return lab.run("exec", "here", "--", "ping", "-c", "1", "-W", "2", target).returncode == 0


def cidr(lab: LabUnderTest, node: str) -> str:
    return str(lab.get("node", node)["spec"]["podCIDR"])


def as_wanted(lab: LabUnderTest) -> bool:
    return lab.run("net", "verify").returncode == 0


def identity(frame: bytes) -> int | None:
    """The VNI of an encapsulated frame, or None."""
    udp = frame[TYPE] == b"\x08\0" and frame[PROTOCOL] == 17 and frame[TARGET_PORT] == PORT.to_bytes(2, "big")
    return int.from_bytes(frame[PAYLOAD + 4 : PAYLOAD + 7], "big") if udp else None


def test_packets_have_the_vni_and_port_of_the_flags(lab: LabUnderTest) -> None:
    """On the underlay, from a pod of one node to that of another."""
    namespace = Path(f"/run/pinnace/labs/{lab.name}/ns/node-2.net")
    with captured(namespace, "eth0") as frames:
        assert reached(lab, address(lab, "there"))
        seen = [found for frame in frames() if (found := identity(frame)) is not None]
    assert len(seen) >= 2
    assert set(seen) == {VNI}
    assert as_wanted(lab)


def test_addresses_are_of_the_ranges_of_the_flags(lab: LabUnderTest) -> None:
    """Those of pods, and of Services, at which the API and DNS answer."""
    assert all(ipaddress.ip_address(address(lab, name)) in ipaddress.ip_network(PODS) for name in ("here", "there"))
    assert lab.get("service", "kubernetes")["spec"]["clusterIP"] == "10.72.0.1"
    assert "nameserver 10.72.0.10" in lab.kctl("exec", "here", "--", "cat", "/etc/resolv.conf").splitlines()
    said = lab.kctl("exec", "here", "--", "nslookup", "kubernetes.default.svc.cluster.local")
    # The server's own address, before, begins alike.
    assert said.partition("\nName:")[2].split()[1:] == ["Address:", "10.72.0.1"]
    assert lab.kctl("net", "trace", "here", "10.72.0.1:443").strip().endswith(":6444")


def test_a_node_that_returns_with_another_cidr_is_followed(lab: LabUnderTest) -> None:
    """A new node has got its former one meanwhile. The others lead each range to the node that has it now."""
    net = NodeNet(lab, "node-1")
    former = cidr(lab, "node-2")
    lab.kctl("lab", "node", "remove", "node-2", "--name", lab.name)
    lab.kctl("lab", "node", "add", "node-3", "--name", lab.name)
    lab.kctl("lab", "node", "add", "node-2", "--name", lab.name)
    assert cidr(lab, "node-3") == former
    assert cidr(lab, "node-2") != former
    lab.apply(pod("third", nodeName="node-3"), pod("back", nodeName="node-2"))
    eventually(lambda: lab.all_running(["here", "third", "back"]))
    for name, node in (("third", "node-3"), ("back", "node-2")):
        assert ipaddress.ip_address(address(lab, name)) in ipaddress.ip_network(cidr(lab, node))
        eventually(partial(reached, lab, address(lab, name)))
    routes = net.on("ip", "route", "show", "dev", "pinnace-vx")
    assert sorted(line.split()[0] for line in routes.splitlines()) == sorted([cidr(lab, "node-2"), former])
    eventually(lambda: as_wanted(lab))
