"""Encrypted clusters: what nodes send to each other is WireGuard's. This machine's kernel may have none: tests/vm runs these."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.lab import layout
from nodeagent.network.vxlan import mac_of
from tests.e2e.test_address_changes import FOUND, neighbour, written
from tests.e2e.test_net_trace import ACROSS, ARRIVED, kinds
from tests.support import frames
from tests.support.frames import within
from tests.support.labs import LabUnderTest, eventually, pod, running
from tests.support.nodenet import NodeNet

pytestmark = pytest.mark.root
PROBE = ["unshare", "--net", "ip", "link", "add", "probe", "type", "wireguard"]
HAS_WIREGUARD = subprocess.run(PROBE, capture_output=True, timeout=60, check=False).returncode == 0
encrypted = pytest.mark.skipif(not HAS_WIREGUARD, reason="the kernel has no WireGuard")
MARKER = b"not-for-the-underlay"


@pytest.fixture(scope="module", params=["ipv4", "ipv6"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """Its underlay and its pods have addresses of one family."""
    family = request.param
    up = ("--encrypt", "--ip-family", family)
    with running(f"t-wg{family[-1]}", tmp_path_factory.mktemp("wg"), nodes=2, up=up, agent=(FOUND,)) as found:
        yield found


@pytest.fixture(scope="module")
def pods(lab: LabUnderTest) -> dict[str, Any]:
    """One on each node; that of node-2 answers with the marker."""
    serve = ["busybox", "nc", "-ll", "-p", "7000", "-e", "busybox", "echo", MARKER.decode()]
    lab.apply(pod("client", nodeName="node-1"), pod("server", container={"command": serve}, nodeName="node-2"))
    lab.kctl("wait", "pod", "client", "server", "--for=condition=Ready", "--timeout=120s")
    return lab.pods()


def fetched(lab: LabUnderTest, pods: dict[str, Any]) -> str:
    return lab.kctl(
        "exec", "client", "--", "busybox", "timeout", "10", "busybox", "nc", pods["server"]["status"]["podIP"], "7000"
    )


def udp_port(frame: bytes) -> int:
    """The destination port of an Ethernet frame with UDP over IPv4 or IPv6; 0 of another."""
    protocol, start = {b"\x08\0": (frame[23], 36), b"\x86\xdd": (frame[20], 56)}.get(frame[12:14], (0, 0))
    return int.from_bytes(frame[start : start + 2], "big") if protocol == socket.IPPROTO_UDP else 0


def underlay(lab: LabUnderTest, node: str) -> Path:
    return layout.load(lab.name).namespace(node, "net")


def netns(lab: LabUnderTest, pods: dict[str, Any], name: str) -> Path:
    """Of a pod."""
    return Path(f"/proc/{lab.state(pods[name])['pid']}/ns/net")


def repaired(lab: LabUnderTest) -> None:
    eventually(lambda: lab.kctl("net", "verify").strip().endswith("2 nodes as wanted, 0 with differences"), within=60)


@contextlib.contextmanager
def frozen(lab: LabUnderTest, node: str) -> Iterator[None]:
    """An agent that repairs nothing meanwhile."""
    lab.kill(node, signal.SIGSTOP)
    try:
        yield
    finally:
        lab.kill(node, signal.SIGCONT)


@encrypted
def test_no_packet_of_a_pod_is_readable_on_the_underlay(lab: LabUnderTest, pods: dict[str, Any]) -> None:
    """The answer arrives, and every UDP packet between the nodes is WireGuard's."""
    with frames.captured(underlay(lab, "node-2"), "eth0") as got:
        assert MARKER.decode() in fetched(lab, pods)
        found = got()
    ports = {port for port in map(udp_port, found) if port}
    assert 51820 in ports
    assert 4789 not in ports
    assert not any(MARKER in frame for frame in found)
    repaired(lab)


@encrypted
def test_packets_of_full_size_are_not_divided(lab: LabUnderTest, pods: dict[str, Any]) -> None:
    """The largest packet of a pod fills one of the underlay."""
    address = pods["server"]["status"]["podIP"]
    headers, overhead = (48, 80 + 70) if ":" in address else (28, 60 + 70)
    with frames.captured(underlay(lab, "node-2"), "eth0") as got:
        size = str(1500 - overhead - headers)
        said = lab.kctl("exec", "client", "--", "busybox", "ping", "-c", "1", "-W", "10", "-s", size, address)
        found = [frame for frame in got() if udp_port(frame) == 51820 or is_fragment(frame)]
    assert " 1 packets received" in said
    assert max(map(len, found)) == 1514
    assert not any(map(is_fragment, found))


def is_fragment(frame: bytes) -> bool:
    if frame[12:14] == b"\x08\0":
        return int.from_bytes(frame[20:22], "big") & 0x3FFF != 0
    return frame[12:14] == b"\x86\xdd" and frame[20] == socket.IPPROTO_FRAGMENT


@encrypted
def test_a_trace_shows_the_tunnel(lab: LabUnderTest, pods: dict[str, Any]) -> None:
    """And continues at the node that is its endpoint."""
    result = lab.run("net", "trace", "client", "pod/server:7000")
    said = result.stdout.decode()
    assert (result.returncode, kinds(said)) == (0, [*ACROSS[:6], "tunnel", *ACROSS[6:], *ARRIVED]), said
    [tunnel] = [line for line in said.splitlines() if line.startswith("  · tunnel ")]
    key = lab.get("node", "node-2")["metadata"]["annotations"]["pinnace.dev/wireguard-key"]
    assert f" dev pinnace-wg peer {key} endpoint {address(lab)}" in tunnel


@encrypted
def test_no_packet_leaves_but_by_the_tunnel(lab: LabUnderTest, pods: dict[str, Any]) -> None:
    """Also on a host that has another route to the addresses of tunnels, before the agent restores the tunnel's."""
    net = NodeNet(lab, "node-1")
    target = (pods["server"]["status"]["podIP"], frames.PORT)
    client = netns(lab, pods, "client")

    def readable() -> bool:
        with frames.captured(underlay(lab, "node-1"), "eth0") as got:
            frames.send_udp(client, target, MARKER)
            return any(MARKER in frame for frame in got())

    net.shell(
        "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0; ip -6 neigh replace fe80::9 lladdr 02:00:00:00:00:09 dev eth0;"
        "ip -6 route add fd70::/16 via fe80::9 dev eth0"
    )
    with frozen(lab, "node-1"):
        net.shell("ip -6 route del fd70:6e63::/32 dev pinnace-wg")
        assert not readable()
        net.shell("nft delete chain inet pinnace guard_encrypted")
        assert readable()
    for damage in ("true", "ip link set pinnace-wg down"):
        net.shell(damage)
        eventually(lambda: net.on("ip", "-6", "route", "show", "fd70:6e63::/32", "dev", "pinnace-wg").strip(), within=60)
    assert net.on("nft", "list", "chain", "inet", "pinnace", "guard_encrypted")
    eventually(lambda: MARKER.decode() in fetched(lab, pods), within=60)
    net.shell("ip -6 route del fd70::/16 dev eth0")


@encrypted
def test_encapsulated_packets_from_outside_of_the_tunnel_are_dropped(lab: LabUnderTest, pods: dict[str, Any]) -> None:
    """Also with a peer's addresses: the tunnel alone shows who has sent a packet. Without the rules they arrive."""
    nodes = [NodeNet(lab, name) for name in ("node-1", "node-2")]
    nodes[1].shell("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0")
    source, target = (pods[name]["status"]["podIP"] for name in ("client", "server"))
    vxlan = json.loads(nodes[1].on("ip", "-d", "-j", "link", "show", "pinnace-vx"))[0]["linkinfo"]["info_data"]
    inner = frames.ethernet(mac_of("node-1"), mac_of("node-2"), *datagram(source, target, b"forged"))
    packet = frames.vxlan(int(vxlan["id"]), inner)
    macs = [json.loads(net.on("ip", "-j", "link", "show", "eth0"))[0]["address"] for net in nodes]
    ends = [[tunnel_of(net) for net in nodes], [address(lab, name) for name in ("node-1", "node-2")]]
    attacks = [frames.ethernet(*macs, *datagram(*pair, packet, port=int(vxlan["port"]))) for pair in ends]

    def arrived() -> list[bytes]:
        with frames.listening(netns(lab, pods, "server"), target) as got:
            for frame in attacks:
                frames.send_frame(underlay(lab, "control"), "eth0", frame)
            return got()

    assert arrived() == []
    with frozen(lab, "node-2"):
        nodes[1].shell("nft delete table inet pinnace")
        assert b"forged" in arrived()
    eventually(lambda: nodes[1].on("nft", "list", "chain", "inet", "pinnace", "guard"), within=60)
    assert arrived() == []


def datagram(source: str, target: str, payload: bytes, *, port: int = frames.PORT) -> tuple[bytes, int]:
    """A packet with the type that its Ethernet frame has."""
    if ":" in target:
        return frames.ipv6_udp(source, target, payload, port=port), frames.ETH_IPV6
    return frames.ipv4_udp(source, target, payload, port=port), frames.ETH_IP


def tunnel_of(net: NodeNet) -> str:
    """The node's tunnel address."""
    [found] = json.loads(net.on("ip", "-j", "address", "show", "pinnace-wg"))[0]["addr_info"]
    return str(found["local"])


@encrypted
def test_the_tunnel_outlasts_the_agent_and_is_repaired(lab: LabUnderTest, pods: dict[str, Any]) -> None:
    """The same key after a restart; a device that is deleted is made again, with its peers."""
    lab.kill("node-1")
    assert MARKER.decode() in fetched_without_agent(lab, pods)
    lab.start_agent("node-1")
    eventually(lambda: MARKER.decode() in fetched(lab, pods), within=60)
    nsenter = ["nsenter", f"--net={underlay(lab, 'node-1')}", "ip", "link", "delete", "dev", "pinnace-wg"]
    subprocess.run(nsenter, check=True, timeout=60)
    eventually(lambda: MARKER.decode() in fetched(lab, pods), within=60)


@encrypted
def test_the_tunnel_follows_the_underlay(lab: LabUnderTest, pods: dict[str, Any]) -> None:
    """Its MTU and the address of the node, there and back."""
    net = NodeNet(lab, "node-2")
    old = pods["server"]["status"]["hostIP"]
    new, overhead = neighbour(old, "77"), 80 if ":" in old else 60
    net.on("ip", "link", "set", "eth0", "mtu", "1480")
    eventually(lambda: f"mtu {1480 - overhead} " in net.on("ip", "link", "show", "pinnace-wg"), within=60)
    for source, target in ((old, new), (new, old)):
        net.shell(f"ip address del {written(source).removesuffix(' nodad')}; ip address add {written(target)}")
        eventually(lambda target=target: address(lab) == target, within=60)
        eventually(lambda: MARKER.decode() in fetched(lab, pods), within=60)
        repaired(lab)
    net.on("ip", "link", "set", "eth0", "mtu", "1500")
    eventually(lambda: f"mtu {1500 - overhead} " in net.on("ip", "link", "show", "pinnace-wg"), within=60)


def address(lab: LabUnderTest, node: str = "node-2") -> str:
    """As the Node has it."""
    found = lab.get("node", node)["status"]["addresses"]
    return next(str(item["address"]) for item in found if item["type"] == "InternalIP")


def fetched_without_agent(lab: LabUnderTest, pods: dict[str, Any]) -> str:
    """From the network namespace of the pod."""

    def ask() -> str:
        with socket.create_connection((pods["server"]["status"]["podIP"], 7000), 10) as connection:
            return connection.recv(100).decode()

    return within(netns(lab, pods, "client"), ask)


@pytest.mark.skipif(HAS_WIREGUARD, reason="the kernel has WireGuard")
def test_a_kernel_without_wireguard_is_refused(tmp_path: Path) -> None:
    """With the reason, before anything is made."""
    lab = LabUnderTest("t-nowg", tmp_path)
    result = lab.run("lab", "up", "--name", lab.name, "--encrypt")
    assert result.returncode == 1
    assert (
        b"error: --encrypt: this machine's kernel has no WireGuard (modprobe wireguard): Unknown device type." in result.stderr
    )
    assert lab.name not in lab.kctl("lab", "list")
