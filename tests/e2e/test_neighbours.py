"""Pods of one node reach each other, and none can take another's place, whatever frames it sends."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.boxes import compiled
from tests.support.labs import LabUnderTest, pod

pytestmark = pytest.mark.root


@pytest.fixture
def pair(lab: LabUnderTest) -> Iterator[dict[str, str]]:
    """Addresses of two pods on one node."""
    names = ("victim", "attacker")
    lab.apply(*(pod(name, nodeName="node-1") for name in names))
    for name in names:
        lab.kctl("wait", f"pod/{name}", "--for=condition=Ready")
    yield {name: lab.get("pod", name)["status"]["podIP"] for name in names}
    lab.run("delete", "pod", *names, "--now")


def on_node(lab: LabUnderTest, *command: str) -> str:
    nsenter = ["nsenter", f"--net=/proc/{lab.pid('node-1')}/ns/net"]
    return subprocess.run([*nsenter, *command], capture_output=True, text=True, check=True, timeout=30).stdout


def neighbours(lab: LabUnderTest, name: str) -> dict[str, str]:
    """MAC by address, as a pod believes."""
    lines = lab.kctl("exec", name, "--", "cat", "/proc/net/arp").splitlines()[1:]
    return {line.split()[0]: line.split()[3] for line in lines}


def test_pods_of_a_node_reach_each_other(lab: LabUnderTest, pair: dict[str, str]) -> None:
    """Through the node, which answers for them; the pod's port is forgotten with the pod."""
    for name, other in (("victim", "attacker"), ("attacker", "victim")):
        lab.kctl("exec", name, "--", "ping", "-c", "1", "-W", "5", "-s", "1400", pair[other])
    assert pair["victim"] in on_node(lab, "ip", "neigh", "show", "dev", "pinnace0", "nud", "permanent")
    lab.kctl("delete", "pod", "victim", "--now")
    assert pair["victim"] not in on_node(lab, "ip", "neigh", "show", "dev", "pinnace0", "nud", "permanent").split()


def test_forged_arp_is_believed_by_nobody(lab: LabUnderTest, pair: dict[str, str], tmp_path: Path) -> None:
    """A pod with NET_RAW answers in its neighbour's name and in the gateway's: neither pods nor the node change their mind."""
    gateway = re.sub(r"\.\d+$", ".1", pair["victim"])
    for target in (gateway, pair["attacker"]):
        lab.kctl("exec", "victim", "--", "ping", "-c", "1", "-W", "5", target)
    before = neighbours(lab, "victim")
    node_before = on_node(lab, "ip", "neigh", "show", "to", pair["victim"], "dev", "pinnace0")
    assert "PERMANENT" in node_before
    forge = tmp_path / "forge"
    forge.write_bytes(compiled("forge"))
    forge.chmod(0o755)
    found = lab.get("pod", "attacker")
    (lab.bundle(found) / "upper/forge").write_bytes(forge.read_bytes())
    (lab.bundle(found) / "upper/forge").chmod(0o755)
    for claimed in (gateway, pair["victim"]):
        assert lab.kctl("exec", "attacker", "--", "/forge", "eth0", claimed) == "sent\n"
    assert neighbours(lab, "victim") == before
    assert set(before.values()) == {before[gateway]}
    assert on_node(lab, "ip", "neigh", "show", "to", pair["victim"], "dev", "pinnace0") == node_before
    lab.kctl("exec", "attacker", "--", "ping", "-c", "1", "-W", "5", pair["victim"])
    on_node(lab, "busybox", "ping", "-c", "1", "-W", "5", pair["victim"])
