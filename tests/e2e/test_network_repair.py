"""The node's network is damaged by hand, one part at a time: the agent puts it back, and pods reach each other again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.labs import LabUnderTest, eventually, pod, running
from tests.support.nodenet import NodeNet

pytestmark = pytest.mark.root
# Seconds in which a repair is promised; a busy machine needs more to run the commands that show it.
PROMISED, PATIENCE = 5.0, 20.0

# By name: a command in the node's network namespace. PORT is the pod's device, POD its address and MAC its address on the link;
# CIDR, VTEP and VMAC are the peer's, and VHOST its underlay address. VIP is that of a load balancer, which the node announces.
DAMAGE = {
    "route deleted": "ip route del CIDR",
    "route to elsewhere": "ip route replace CIDR via 198.51.100.200 dev eth0",
    "route that no peer has": "ip route add 10.244.77.0/24 via 10.244.77.0 dev pinnace-vx onlink proto 80",
    "blackhole deleted": "ip route del blackhole 10.244.0.0/16",
    "neighbour deleted": "ip neigh del VTEP dev pinnace-vx",
    "neighbour with another MAC address": "ip neigh replace VTEP lladdr 02:00:00:00:00:99 dev pinnace-vx nud permanent",
    "FDB entry deleted": "bridge fdb del VMAC dev pinnace-vx",
    "FDB entry to elsewhere": "bridge fdb replace VMAC dst 198.51.100.200 dev pinnace-vx",
    "FDB entry of everything": "bridge fdb append 00:00:00:00:00:00 dst 198.51.100.200 dev pinnace-vx",
    "port without its bridge": "ip link set PORT nomaster",
    "port down": "ip link set PORT down",
    "port without hairpin": "bridge link set dev PORT hairpin off",
    "port that learns": "bridge link set dev PORT learning on",
    "port isolated": "bridge link set dev PORT isolated on",
    "port guarded": "bridge link set dev PORT guard on",
    "port disabled": "bridge link set dev PORT state 0",
    "port with another MTU": "ip link set PORT mtu 1300",
    "entry of a port deleted": "bridge fdb del MAC dev PORT master",
    "neighbour of the bridge deleted": "ip neigh del POD dev pinnace0",
    "neighbour of the bridge with another MAC address": "ip neigh replace POD lladdr 02:00:00:00:00:99 dev pinnace0 nud permanent",
    "pod's device deleted": "ip link del PORT",
    "bridge deleted": "ip link del pinnace0",
    "bridge down": "ip link set pinnace0 down",
    "bridge with another MAC address": "ip link set pinnace0 address 02:00:00:00:00:99",
    "bridge with another MTU": "ip link set pinnace0 mtu 1280",
    "VXLAN device deleted": "ip link del pinnace-vx",
    "VXLAN device down": "ip link set pinnace-vx down",
    "VXLAN device of another VNI": "ip link del pinnace-vx; ip link add pinnace-vx type vxlan id 4711 dstport 4789 dev eth0",
    "another route without a next hop": "ip route add 10.244.77.0/24 dev pinnace-vx proto 80",
    "another route to nowhere": "ip route add unreachable 10.244.77.0/24 proto 80",
    "another route to Services": "ip route add 10.97.0.0/16 dev pinnace0 proto 80",
    "another neighbour of the bridge": "ip neigh add 10.244.99.9 lladdr 02:00:00:00:00:98 dev pinnace0 nud permanent",
    "another neighbour of the VXLAN device": "ip neigh add 10.244.99.0 lladdr 02:00:00:00:00:98 dev pinnace-vx nud permanent",
    "another FDB entry of the VXLAN device": "bridge fdb add 02:00:00:00:00:98 dev pinnace-vx dst 198.51.100.200",
    "FDB entry with another UDP port": "bridge fdb replace VMAC dev pinnace-vx dst VHOST port 4790",
    "another entry of a port": "bridge fdb add 02:00:00:00:00:98 dev PORT master static",
    "address of the bridge deleted": "ip address flush dev pinnace0",
    "address of the VXLAN device deleted": "ip address flush dev pinnace-vx",
    "another address of the bridge": "ip address add 10.244.99.1/32 dev pinnace0",
    "another address of the VXLAN device": "ip address add 10.244.99.1/32 dev pinnace-vx",
    "cluster DNS address deleted": "ip address del 10.96.0.10/32 dev lo",
    "route to Services deleted": "ip route del 10.96.0.0/12 dev pinnace0",
    "address of a load balancer deleted": "ip route del local VIP table local",
    "address of another load balancer": "ip route add local 198.51.100.222 dev eth0 table local proto 80",
    "no forwarding": "sysctl -qw net.ipv4.ip_forward=0",
    "no reverse path filter": "sysctl -qw net.ipv4.conf.pinnace-vx.rp_filter=0",
    "no ARP answers": "sysctl -qw net.ipv4.conf.pinnace0.proxy_arp_pvlan=0",
    "no host ports on localhost": "sysctl -qw net.ipv4.conf.pinnace0.route_localnet=0",
    "router advertisements": "sysctl -qw net.ipv6.conf.pinnace0.accept_ra=2",
    "chain flushed": "nft flush chain inet pinnace guard",
    "rule deleted": "nft -a list chain inet pinnace guard | grep -o 'handle [0-9]*$' | tail -1 | "
    "xargs -I HANDLE sh -c 'nft delete rule inet pinnace guard HANDLE'",
    "rule added": "nft insert rule inet pinnace guard drop",
    "element deleted": "nft flush set inet pinnace peers_4",
    "element added": "nft add element inet pinnace peers_4 '{ 198.51.100.66 }'",
    "client added": "nft add element inet pinnace dnsclients_4 '{ 198.51.100.66 timeout 1h }'",
    "table deleted": "nft delete table inet pinnace",
    "table asleep": "nft add table inet pinnace '{ flags dormant; }'",
    "table of the bridge deleted": "nft delete table bridge pinnace",
    "binding deleted": "nft flush set bridge pinnace bindings",
    "rules of ARP flushed": "nft flush chain arp pinnace input",
    "all rules flushed": "nft flush ruleset",
}


BALANCED = {
    "apiVersion": "v1", "kind": "Service", "metadata": {"name": "balanced"},
    "spec": {"type": "LoadBalancer", "selector": {"app": "nothing"}, "ports": [{"port": 80}]},
}  # fmt: skip


class Place:
    """Two pods on two nodes; node-1's network is damaged."""

    def __init__(self, lab: LabUnderTest) -> None:
        self.lab, self.net = lab, NodeNet(lab, "node-1")
        lab.apply(pod("here", nodeName="node-1"), pod("there", nodeName="node-2"))
        lab.kctl("label", "node", "node-2", "node.kubernetes.io/exclude-from-external-load-balancers=")
        lab.apply(BALANCED)
        pods = eventually(lambda: lab.all_running(["here", "there"]))
        [ingress] = eventually(lambda: lab.get("service", "balanced")["status"]["loadBalancer"].get("ingress"))
        eventually(lambda: str(ingress["ip"]) in self.net.on("ip", "route", "show", "table", "local"))
        self.there = str(pods["there"]["status"]["podIP"])
        pid = lab.state(pods["here"])["pid"]
        self.here = Path(f"/proc/{pid}/ns/net")
        eth0 = json.loads(self.net.on("nsenter", f"--net={self.here}", "ip", "-j", "link", "show", "eth0"))[0]
        port = next(link["ifname"] for link in json.loads(self.net.on("ip", "-j", "link")) if link["ifname"].startswith("pnc"))
        peer = lab.get("node", "node-2")["spec"]["podCIDR"]
        vtep = peer.partition("/")[0]
        vmac = self.net.on("ip", "neigh", "show", vtep).split("lladdr ")[1].split()[0]
        self.names = {
            "PORT": port, "POD": str(pods["here"]["status"]["podIP"]), "VMAC": vmac, "MAC": str(eth0["address"]),
            "CIDR": str(peer), "VTEP": vtep, "VHOST": self.address("node-2"), "VIP": str(ingress["ip"]),
        }  # fmt: skip

    def address(self, node: str) -> str:
        """As the Node has it."""
        found = self.lab.get("node", node)["status"]["addresses"]
        return next(str(item["address"]) for item in found if item["type"] == "InternalIP")

    def damage(self, name: str) -> None:
        line = DAMAGE[name]
        for word, value in self.names.items():
            line = line.replace(word, value)
        self.net.shell(line)

    @contextmanager
    def agent_asleep(self) -> Iterator[None]:
        """Damage that lasts until it has been seen."""
        agent = self.lab.pid("node-1")
        os.kill(agent, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(agent, signal.SIGCONT)

    def mtus(self) -> list[int]:
        devices = (("pinnace0",), ("pinnace-vx",), (self.names["PORT"],))
        found = [self.net.on("ip", "-j", "link", "show", *device) for device in devices]
        found.append(self.net.on("nsenter", f"--net={self.here}", "ip", "-j", "link", "show", "eth0"))
        return [int(json.loads(text)[0]["mtu"]) for text in found]

    def reached(self) -> bool:
        return b"1 packets received" in self.lab.run("exec", "here", "--", "ping", "-c", "1", "-W", "2", self.there).stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running("repair", tmp_path_factory.mktemp("repair"), nodes=2) as lab:
        yield Place(lab)


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_repaired(place: Place, name: str) -> None:
    before = eventually(lambda: place.reached() and place.net.snapshot())
    with place.agent_asleep():
        place.damage(name)
        assert place.net.snapshot() != before, "nothing was damaged"
    eventually(lambda: _same(place.net.snapshot(), before), within=PROMISED + PATIENCE)
    assert place.reached()


def _same(found: dict[str, object], before: dict[str, object]) -> bool:
    for key, value in before.items():
        assert found[key] == value, key
    return True


def test_verify_names_differences_and_fix_repairs_them(place: Place) -> None:
    """While a route is deleted again and again: the agent repairs it too, but not as often."""
    clean = place.lab.kctl("net", "verify")
    assert clean.strip().endswith("2 nodes as wanted, 0 with differences")
    loop = f"while :; do ip route del {place.names['CIDR']} 2>/dev/null; done"
    with subprocess.Popen(["nsenter", f"--net={place.net.namespace}", "sh", "-c", loop]) as deleting:
        try:
            differing = place.lab.run("net", "verify")
            fixed = place.lab.run("net", "verify", "--fix", "--node", "node-1")
        finally:
            deleting.kill()
    [line] = [line for line in differing.stdout.decode().splitlines() if place.names["CIDR"] in line]
    assert line.split()[:4] == ["node-1", "route", place.names["CIDR"], "via"]
    assert line.split()[-1] == "<none>"
    assert b"1 node as wanted, 1 with differences" in differing.stdout
    assert differing.returncode == 1
    assert b"which is repaired" in fixed.stdout
    assert fixed.returncode == 0
    eventually(place.reached)


def test_repairs_are_counted_by_kind(place: Place) -> None:
    def repairs(kind: str) -> float:
        text = place.lab.kctl("get", "--raw", "/api/v1/nodes/node-1/proxy/metrics")
        line = next(line for line in text.splitlines() if line.startswith(f'pinnace_network_repairs_total{{kind="{kind}"}}'))
        return float(line.split()[1])

    before = {kind: repairs(kind) for kind in ("route", "nft", "sysctl", "balancer")}
    for name in ("route deleted", "chain flushed", "no forwarding", "address of a load balancer deleted"):
        with place.agent_asleep():
            place.damage(name)
    for kind, count in before.items():
        eventually(lambda kind=kind, count=count: repairs(kind) > count, within=PROMISED + PATIENCE)


def test_the_mtu_follows_the_underlay(place: Place) -> None:
    """Of bridge, overlay, port and the pod's own device, down and up again."""
    for underlay in (1400, 1500):
        place.net.on("ip", "link", "set", "eth0", "mtu", str(underlay))
        eventually(lambda mtu=underlay - 50: set(place.mtus()) == {mtu}, within=PROMISED + PATIENCE)
    assert place.reached()
