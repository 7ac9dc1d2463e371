"""A node that is deleted, and joins again when another node has its pod CIDR: it returns with another one."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_identity import _join_from
from tests.support.labs import LabUnderTest, eventually, pod, running
from tests.support.nodenet import NodeNet

pytestmark = pytest.mark.root


def cidr(lab: LabUnderTest, node: str) -> str:
    return str(lab.get("node", node)["spec"]["podCIDR"])


def address(lab: LabUnderTest, name: str) -> Any:
    return ipaddress.ip_address(lab.pods()[name]["status"]["podIP"])


def reached(lab: LabUnderTest, source: str, target: str) -> bool:
    said = lab.run("exec", source, "--", "ping", "-c", "1", "-W", "2", str(address(lab, target)))
    return b"1 packets received" in said.stdout


def test_a_node_returns_with_another_cidr(tmp_path: Path) -> None:
    """Its agent runs all the time. Packets to the earlier CIDR are the other node's, and nothing of it is left on the host."""
    with running("returns", tmp_path, nodes=2) as lab:
        lab.apply(pod("one", nodeName="node-1"), pod("two", nodeName="node-2"))
        eventually(lambda: lab.all_running(["one", "two"]))
        before, agent, container = cidr(lab, "node-2"), lab.pid("node-2"), lab.state(lab.pods()["two"])["pid"]
        assert reached(lab, "one", "two")
        lab.kctl("delete", "node", "node-2")
        eventually(lambda: "two" not in lab.pods(), within=90)
        # Of the images, it misses those of the node that the lab still has.
        lab.run("lab", "node", "add", "--name", lab.name)
        lab.apply(pod("three", nodeName="node-3"))
        eventually(lambda: lab.all_running(["three"]))
        assert cidr(lab, "node-3") == before

        line = lab.kctl("node", "join-command", "node-2").split()
        _join_from(lab, "node-2", "node-2", line[1], line[line.index("--ca-hash") + 1], lab.node_dir("node-2"))
        eventually(
            lambda: b"Ready" in (found := lab.run("get", "node", "node-2").stdout) and b"NotReady" not in found, within=120
        )
        after = cidr(lab, "node-2")
        assert after not in (before, cidr(lab, "node-1"))
        lab.apply(pod("four", nodeName="node-2"))
        eventually(lambda: lab.all_running(["four"]), within=60)
        assert address(lab, "four") in ipaddress.ip_network(after)
        for source, target in (("one", "three"), ("one", "four"), ("three", "four"), ("four", "one"), ("four", "three")):
            eventually(lambda source=source, target=target: reached(lab, source, target))
        assert lab.pid("node-2") == agent
        assert not Path(f"/proc/{container}").exists()
        links = json.loads(NodeNet(lab, "node-2").on("ip", "-4", "-j", "address"))
        found = {link["ifname"]: [item["local"] for item in link["addr_info"]] for link in links}
        network = ipaddress.ip_network(after)
        assert (found["pinnace0"], found["pinnace-vx"]) == ([str(network[1])], [str(network[0])])
        eventually(lambda: lab.kctl("net", "verify").strip().endswith("3 nodes as wanted, 0 with differences"))
