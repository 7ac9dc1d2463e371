"""Encrypted clusters: what nodes send to each other is WireGuard's. This machine's kernel may have none: tests/vm runs these."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.lab import layout
from tests.support.frames import within
from tests.support.labs import LabUnderTest, eventually, pod, running

pytestmark = pytest.mark.root
PROBE = ["unshare", "--net", "ip", "link", "add", "probe", "type", "wireguard"]
HAS_WIREGUARD = subprocess.run(PROBE, capture_output=True, timeout=60, check=False).returncode == 0
encrypted = pytest.mark.skipif(not HAS_WIREGUARD, reason="the kernel has no WireGuard")
MARKER = b"not-for-the-underlay"
# linux/if_ether.h, ETH_P_ALL.
ALL = 3


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with running("t-wg", tmp_path_factory.mktemp("wg"), nodes=2, up=("--encrypt",)) as found:
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


def underlay(lab: LabUnderTest, node: str) -> Path:
    return layout.load(lab.name).namespace(node, "net")


@encrypted
def test_no_packet_of_a_pod_is_readable_on_the_underlay(lab: LabUnderTest, pods: dict[str, Any]) -> None:
    """The answer arrives, and every UDP packet between the nodes is WireGuard's."""
    sniffer = within(underlay(lab, "node-2"), lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL)))
    with sniffer:
        sniffer.bind(("eth0", ALL))
        sniffer.settimeout(1)
        assert MARKER.decode() in fetched(lab, pods)
        frames = []
        with pytest.raises(TimeoutError):
            while len(frames) < 10_000:
                frames.append(sniffer.recv(65536))
    udp = [frame for frame in frames if frame[12:14] == b"\x08\0" and frame[23] == socket.IPPROTO_UDP]
    ports = {int.from_bytes(frame[36:38], "big") for frame in udp}
    assert 51820 in ports
    assert 4789 not in ports
    assert not any(MARKER in frame for frame in frames)


@encrypted
def test_encapsulated_packets_from_outside_of_the_tunnel_are_dropped(lab: LabUnderTest, pods: dict[str, Any]) -> None:
    """Also with a peer's addresses: the tunnel alone shows who has sent a packet."""
    namespace = f"--net={underlay(lab, 'node-2')}"
    listed = subprocess.run(
        ["nsenter", namespace, "nft", "list", "chain", "inet", "pinnace", "guard"], capture_output=True, text=True, timeout=60, check=True
    )  # fmt: skip
    assert 'iifname != "pinnace-wg" fib daddr type != unicast drop' in listed.stdout
    links = subprocess.run(
        ["nsenter", namespace, "ip", "-d", "link", "show", "pinnace-vx"], capture_output=True, text=True, timeout=60
    )
    assert "local fd70:6e63:" in links.stdout


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


def fetched_without_agent(lab: LabUnderTest, pods: dict[str, Any]) -> str:
    """From the network namespace of the pod."""

    def ask() -> str:
        with socket.create_connection((pods["server"]["status"]["podIP"], 7000), 10) as connection:
            return connection.recv(100).decode()

    return within(Path(f"/proc/{lab.state(pods['client'])['pid']}/ns/net"), ask)


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
