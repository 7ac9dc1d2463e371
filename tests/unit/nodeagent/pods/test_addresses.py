"""Addresses of a pod on its node: recorded, held, shown to its containers, and the targets of its host ports."""

from __future__ import annotations

import json
from pathlib import Path

from nodeagent.network.interface import HostPort
from nodeagent.pods.checkpoint import PodCheckpoint
from nodeagent.pods.context import PodContext
from nodeagent.pods.model import Policy
from nodeagent.pods.sandboxes import host_ports
from nodeagent.pods.state import PodState
from pinnace.clock import VirtualClock
from tests.support.hosting import Host
from tests.support.objects import pod

DUAL = ("10.244.1.2", "fd00:244:0:1::2")


def state(folder: Path) -> PodState:
    return PodState(PodCheckpoint(folder), VirtualClock(), Policy(), lambda *_: None)


def test_addresses_outlast_an_agent(tmp_path: Path) -> None:
    """An agent of an earlier release reads the primary one, and wrote that alone."""
    state(tmp_path).addresses_given(DUAL)
    restored = state(tmp_path)
    assert restored.restore()
    assert restored.observed.addresses == DUAL
    record = json.loads((tmp_path / "sandbox.json").read_text())
    assert record["address"] == DUAL[0]
    del record["addresses"]
    (tmp_path / "sandbox.json").write_text(json.dumps(record))
    assert restored.restore()
    assert restored.observed.addresses == DUAL[:1]


def test_the_downward_api_shows_all_addresses(tmp_path: Path) -> None:
    """With commas between them, as kubelet does."""
    pod_ctx = PodContext(Host(tmp_path).deps(), pod())
    pod_ctx.state.addresses_given(DUAL)
    facts = pod_ctx.facts()
    assert (facts["status.podIP"], facts["status.podIPs"]) == (DUAL[0], ",".join(DUAL))
    assert (facts["status.hostIP"], facts["status.hostIPs"]) == ("192.0.2.1", "192.0.2.1")


def test_a_host_port_leads_to_the_address_of_its_family() -> None:
    """One for any address of the node, to both."""
    ports = [
        {"containerPort": 80, "hostPort": 8080}, {"containerPort": 81, "hostPort": 8081, "hostIP": "fd00:1::1"},
        {"containerPort": 82, "hostPort": 8082, "hostIP": "::"},
    ]  # fmt: skip
    subject = pod()
    for port in ports:
        subject.spec.containers[0].ports.add(protocol="TCP", **port)
    assert host_ports(subject, DUAL) == [
        HostPort("tcp", "", 8080, DUAL[0], 80),
        HostPort("tcp", "", 8080, DUAL[1], 80),
        HostPort("tcp", "fd00:1::1", 8081, DUAL[1], 81),
        HostPort("tcp", "", 8082, DUAL[1], 82),
    ]
    assert host_ports(subject, DUAL[:1]) == [HostPort("tcp", "", 8080, DUAL[0], 80)]
