"""Upstream's matrix for NetworkPolicies in a lab: pods a, b and c in each of the namespaces x, y and z, TCP and UDP, ports 80 and 81.

Pods of one name are on one node, so half of a pod's traffic with other namespaces stays on its node. Every pair is probed for real.
Source: kubernetes, test/e2e/network/netpol.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.labs import LabUnderTest, eventually, pod
from tests.support.prober import TCP, UDP, Probe, Prober

SPACES, NAMES, PORTS = "xyz", "abc", (80, 81)
# Seconds until a change has reached every node of a busy machine.
SETTLED = 60.0


class Ends(NamedTuple):
    """A connection between two pods, as NAMESPACE/NAME, and the destination's port."""

    source: str
    target: str
    port: int
    protocol: str


Allowed = Callable[[Ends], bool]


class Matrix:
    def __init__(self, lab: LabUnderTest) -> None:
        self.lab = lab
        self._applied: dict[tuple[str, str], dict[str, Any]] = {}
        lab.apply(*(namespace(name) for name in SPACES))
        lab.apply(*(_pod(space, name) for space, name in itertools.product(SPACES, NAMES)))
        eventually(self._load, within=120)
        self.prober = Prober({key: self.netns(key) for key in self.pods}, PORTS)

    def _load(self) -> bool:
        """The pods as they are, once all of them run."""
        found = self.lab.get("pods", "-A")["items"]
        self.pods = {f"{item['metadata']['namespace']}/{item['metadata']['name']}": item for item in found}
        assert all(item["status"].get("phase") == "Running" for item in found)
        return len(found) == len(SPACES) * len(NAMES)

    def netns(self, key: str) -> Path:
        return Path(f"/proc/{self.lab.state(self.pods[key])['pid']}/ns/net")

    def address(self, key: str) -> str:
        return str(self.pods[key]["status"]["podIP"])

    def policy(self, space: str, name: str, **spec: Any) -> None:
        self.apply(policy(space, name, **spec))

    def apply(self, *policies: dict[str, Any]) -> None:
        self.lab.apply(*policies)
        self._applied |= {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in policies}

    def clear(self) -> None:
        """Delete the policies that were applied."""
        found, self._applied = self._applied, {}
        if found:
            text = "---\n".join(json.dumps(item) + "\n" for item in found.values())
            self.lab.kctl("delete", "--ignore-not-found", "-f", "-", stdin=text)

    def wrong(self, allowed: Allowed) -> dict[Ends, str]:
        """The pairs that are not as they should be, with who answered."""
        probes = {}
        for ends in itertools.starmap(Ends, itertools.product(self.pods, self.pods, PORTS, (TCP, UDP))):
            passes = ends.source == ends.target or allowed(ends)
            probe = Probe(ends.source, self.address(ends.target), ends.port, ends.protocol)
            probes[probe] = (ends, ends.target if passes else "")
        found = self.prober.probe(probes)
        return {ends: found[probe] for probe, (ends, expected) in probes.items() if found[probe] != expected}

    def check(self, allowed: Allowed) -> None:
        """The whole table is so, soon."""

        def settled() -> bool:
            wrong = self.wrong(allowed)
            assert not wrong, dict(itertools.islice(wrong.items(), 10))
            return True

        eventually(settled, within=SETTLED)


def space_of(key: str) -> str:
    return key.partition("/")[0]


def name_of(key: str) -> str:
    return key.partition("/")[2]


def namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"ns": name}}}


def policy(space: str, name: str, **spec: Any) -> dict[str, Any]:
    about = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name, "namespace": space}}
    return {**about, "spec": {"podSelector": {}, **spec}}


def _pod(space: str, name: str) -> dict[str, Any]:
    ports = [
        {"name": f"serve-{port}-{protocol}", "containerPort": port, "protocol": protocol.upper()}
        for port, protocol in itertools.product(PORTS, (TCP, UDP))
    ]
    found = pod(name, namespace=space, nodeName=f"node-{NAMES.index(name) + 1}", container={"ports": ports})
    found["metadata"]["labels"] = {"pod": name}
    return found
