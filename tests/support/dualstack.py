"""A lab of two nodes with three pods, whose addresses are of one IP family or of both."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support import frames
from tests.support.labs import LabUnderTest, eventually, pod

VICTIM, NEIGHBOUR, ATTACKER = "victim", "neighbour", "attacker"
PODS = (VICTIM, NEIGHBOUR, ATTACKER)
NODES = ("node-1", "node-2")
ALL_NODES = "33:33:00:00:00:01"
# A host on the underlay that is no node.
OUTSIDE = {4: "198.51.100.1", 6: "2001:db8:c633:64::1"}


class Place:
    """A lab of two nodes: the attacker and its neighbour on node-1, the victim on node-2."""

    def __init__(self, lab: LabUnderTest) -> None:
        self.lab = lab
        show = {"env": [{"name": "IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}},
                        {"name": "HOSTS", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIPs"}}}]}  # fmt: skip
        ports = {"ports": [{"containerPort": frames.PORT, "hostPort": 7070, "protocol": "UDP"}]}
        lab.apply(
            pod(VICTIM, nodeName="node-2", container=show | ports),
            *(pod(name, nodeName="node-1") for name in (NEIGHBOUR, ATTACKER)),
        )  # fmt: skip
        self.pods = eventually(lambda: lab.all_running([*PODS]))

    def host(self, name: str) -> Path:
        return Path(f"/run/pinnace/labs/{self.lab.name}/ns/{name}.net")

    def of(self, name: str) -> Path:
        """A pod's network namespace."""
        return Path(f"/proc/{self.lab.state(self.pods[name])['pid']}/ns/net")

    def inside(self, namespace: Path, *command: str) -> str:
        enter = ["nsenter", f"--net={namespace}", *command]
        return subprocess.run(enter, capture_output=True, text=True, check=True, timeout=30).stdout

    def on(self, host: str, *command: str) -> str:
        return self.inside(self.host(host), *command)

    def addresses(self, name: str) -> dict[int, str]:
        """Of a pod, by family."""
        return by_family([item["ip"] for item in self.pods[name]["status"]["podIPs"]])

    def underlay(self, host: str) -> dict[int, str]:
        if host == "control":
            return OUTSIDE
        found = self.lab.get("node", host)["status"]["addresses"]
        return by_family([item["address"] for item in found if item["type"] == "InternalIP"])

    def cidr(self, node: str, family: int) -> str:
        return by_family(self.lab.get("node", node)["spec"]["podCIDRs"])[family]

    def gateway(self, node: str, family: int) -> str:
        network = self.cidr(node, family).partition("/")[0]
        return network + "1" if family == 6 else network.rpartition(".")[0] + ".1"

    def mac(self, namespace: Path, device: str = "eth0") -> str:
        return str(json.loads(self.inside(namespace, "ip", "-j", "link", "show", device))[0]["address"])

    def attack(self, packet: bytes, target_mac: str = "", own_mac: str = "", tags: Sequence[int] = ()) -> None:
        """The attacker sends a frame, to the bridge of its node if nothing else is said; `tags` are types of VLAN tags."""
        target = target_mac or self.mac(self.host("node-1"), "pinnace0")
        kind = frames.ETH_IPV6 if packet[0] >> 4 == 6 else frames.ETH_IP
        frame = frames.ethernet(own_mac or self.mac(self.of(ATTACKER)), target, packet, kind)
        frames.send_frame(self.of(ATTACKER), "eth0", frames.tagged(frame, *tags))

    def guarded(self) -> bool:
        """Whether both nodes have the tables that keep forged packets out: of the bridge, and of the node with its peers."""
        return all({"bindings6", "peers_6"} <= set(self.on(node, "nft", "list", "ruleset").split()) for node in NODES)

    def received(self, name: str, family: int, send: Any) -> list[bytes]:
        """What a pod gets when `send` is called."""
        with frames.listening(self.of(name), self.addresses(name)[family]) as got:
            send()
            return got()


def by_family(addresses: list[str]) -> dict[int, str]:
    found = {6 if ":" in item else 4: item for item in addresses}
    assert len(found) == len(addresses), addresses
    return found


def packet(family: int, source: str, target: str, payload: bytes, port: int = frames.PORT) -> bytes:
    return (frames.ipv6_udp if family == 6 else frames.ipv4_udp)(source, target, payload, port=port)


def self_free(text: str) -> str:
    """Without states and times, which change by themselves."""
    return "\n".join(sorted(line.partition(" expires")[0] for line in text.splitlines() if "STALE" not in line))


def is_discovery(frame: bytes) -> bool:
    """ICMPv6 of types 133 to 137, without extension headers."""
    return frame[12:14] == b"\x86\xdd" and frame[20] == 58 and 133 <= frame[54] <= 137
