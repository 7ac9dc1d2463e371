"""Kernel parameters of a pod."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.pods.spec import sysctls
from nodeagent.runtime.interface import IdRange
from tests.support.objects import pod

PORTS, PING = "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range"
DEFAULTS = {PORTS: "0", PING: "0 2147483647"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, DEFAULTS),
        ({PORTS: "1024"}, {**DEFAULTS, PORTS: "1024"}),
        ({"net/ipv4/ip_unprivileged_port_start": "80"}, {**DEFAULTS, PORTS: "80"}),
        ({PING: "1 0", "kernel.shm_rmid_forced": "1"}, {**DEFAULTS, PING: "1 0", "kernel.shm_rmid_forced": "1"}),
    ],
)
def test_what_the_manifest_says_wins(given: dict[str, str], expected: dict[str, str]) -> None:
    """However the name is written."""
    context = {"sysctls": [{"name": name, "value": value} for name, value in given.items()]}
    assert dict(sysctls.of(pod("p", securityContext=context), None)) == expected


def test_a_user_namespace_has_no_more_groups_than_its_own() -> None:
    """The kernel refuses a range with others."""
    assert dict(sysctls.of(pod("p"), IdRange(1 << 20, 1 << 16)))[PING] == "0 65535"


def test_the_nodes_network_is_left_alone() -> None:
    """It is not the pod's."""
    spec: dict[str, Any] = {"hostNetwork": True}
    assert sysctls.of(pod("p", **spec), None) == ()
