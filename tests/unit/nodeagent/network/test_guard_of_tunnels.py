"""The guard of encrypted clusters in the real kernel: no encapsulated packet leaves but by the tunnel's device, whatever the
host's routes are. A veth has the name of the WireGuard device, which not every kernel has."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from nodeagent.network import guard
from nodeagent.network.interface import Node
from nodeagent.network.nftables import Nftables
from tests.support import frames
from tests.support.networks import alone

pytestmark = pytest.mark.root
NODE = Node(("10.244.1.0/24",), ("10.244.0.0/16",), "fd70:6e63::1", "0a:00:00:00:00:01", 7, 4789, encrypt=True)
PEER = "fd70:6e63::2"
HERE = Path("/proc/thread-self/ns/net")
# As without an agent: the device with its address and route, the overlay on it, and a way to the rest of the world.
HOST = f"""
sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.forwarding=1
ip link add eth0 type veth peer name wire
ip link set eth0 up; ip link set wire up
ip address add 2001:db8::1/64 dev eth0 nodad
ip -6 neigh replace 2001:db8::9 lladdr 02:00:00:00:00:09 dev eth0
ip -6 route add default via 2001:db8::9 dev eth0
ip link add pinnace-wg type veth peer name tunnel
ip link set pinnace-wg up; ip link set tunnel up
ip address add {NODE.address}/32 dev pinnace-wg nodad
ip -6 neigh replace {PEER} lladdr 02:00:00:00:00:0a dev pinnace-wg
ip link add pinnace-vx type vxlan id {NODE.vni} dstport {NODE.port} local {NODE.address} dev pinnace-wg nolearning
ip link set pinnace-vx up
bridge fdb append 02:00:00:00:00:02 dst {PEER} dev pinnace-vx
"""
BY_MARK = """
nft 'table inet other { chain out { type route hook output priority -150; udp dport 4789 meta mark set 77; }; }'
ip -6 rule add fwmark 77 lookup 100
ip -6 route add default via 2001:db8::9 dev eth0 table 100
"""


def shell(lines: str) -> None:
    subprocess.run(["sh", "-ec", lines], check=True, timeout=60)


def leaves(device: str) -> int:
    """How many encapsulated packets leave by a device when a packet to a pod is sent into the overlay."""
    inner = frames.ethernet("0a:00:00:00:00:01", "02:00:00:00:00:02", frames.ipv4_udp("10.244.1.5", "10.244.2.5", b"marker"))
    with frames.captured(HERE, device) as got, socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        # The guard's mark of packets to pods, or it takes this one for encapsulated by a process.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x01000000)
        sock.bind(("pinnace-vx", 0))
        sock.send(inner)
        return sum(b"marker" in frame for frame in got())


@pytest.mark.parametrize(
    "damage",
    ["ip link set pinnace-wg down", "ip -6 route del fd70:6e63::/32 dev pinnace-wg", BY_MARK],
    ids=["device down", "route deleted", "route by a mark"],
)
def test_no_encapsulated_packet_leaves_by_another_device(damage: str) -> None:
    """Without the rules each of them leaves unencrypted."""
    rules = f"table inet pinnace {{ {guard.fragment(NODE, 'pinnace0', routed=()).text} }}"

    def work() -> tuple[int, int, int]:
        shell(HOST)
        nft = Nftables()
        nft.run_text(rules)
        by_tunnel = leaves("pinnace-wg")
        shell(damage)
        guarded = leaves("eth0")
        nft.run_text("delete table inet pinnace")
        return by_tunnel, guarded, leaves("eth0")

    by_tunnel, guarded, without = alone(work)
    assert (by_tunnel, guarded, without) == (1, 0, 1)
