"""The ports of the node that a pod asks for."""

from __future__ import annotations

from typing import Any

from pinnace import hostports
from pinnace.hostports import HostPort
from tests.support.objects import pod


def container(name: str, *ports: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "x", "ports": list(ports), **more}


def test_each_port_is_claimed_once() -> None:
    """One entry for a port, whoever claims it and however all addresses are written: two would be in each other's way."""
    web = container(
        "web",
        {"containerPort": 1, "hostPort": 80},
        {"containerPort": 2, "hostPort": 80, "hostIP": "0.0.0.0"},
        {"containerPort": 3, "hostPort": 80, "protocol": "UDP"},
        {"containerPort": 4, "hostPort": 80, "hostIP": "10.0.0.1"},
    )
    proxy = container(
        "proxy", {"containerPort": 5, "hostPort": 80}, {"containerPort": 6, "hostPort": 81}, restartPolicy="Always"
    )
    assert hostports.of(pod("p", web, initContainers=[proxy])) == (
        HostPort("", "TCP", 80, 1), HostPort("", "UDP", 80, 3), HostPort("10.0.0.1", "TCP", 80, 4), HostPort("", "TCP", 81, 6),
    )  # fmt: skip


def test_init_containers_claim_no_ports() -> None:
    """They end before the pod serves; sidecars do not."""
    setup = container("setup", {"containerPort": 1, "hostPort": 80})
    assert hostports.of(pod("p", "main", initContainers=[setup])) == ()
