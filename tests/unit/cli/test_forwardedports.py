"""Ports of `kctl port-forward`: of a pod, and of a Service that selects it."""

from __future__ import annotations

from typing import Any

import pytest

from cli import forwardedports
from pinnace import kinds
from pinnace.errors import BadRequest
from tests.support.kctlserver import made

PORTS = [{"containerPort": 8080, "name": "web", "protocol": "TCP"}, {"containerPort": 53, "name": "dns", "protocol": "UDP"}]
POD = made(kinds.POD, "p", spec={"containers": [{"name": "c", "image": "i", "ports": PORTS}]})


def service(**spec: Any) -> Any:
    ports = [
        {"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}, {"name": "plain", "port": 81, "protocol": "TCP"},
        {"name": "admin", "port": 82, "targetPort": 9000, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "lost", "port": 83, "targetPort": "none", "protocol": "TCP"},
    ]  # fmt: skip
    return made(kinds.SERVICE, "s", spec={"ports": ports, **spec})


@pytest.mark.parametrize(
    ("word", "pair"),
    [
        ("80", (80, 80)),
        ("8000:80", (8000, 80)),
        (":80", (0, 80)),
        ("0:80", (0, 80)),
        ("web", (8080, 8080)),
        ("1:web", (1, 8080)),
    ],
)
def test_ports_of_a_pod(word: str, pair: tuple[int, int]) -> None:
    """Numbers, whether or not a container lists them, and names of containers' ports."""
    assert forwardedports.pairs([word], POD) == [pair]


@pytest.mark.parametrize(
    ("word", "pair"),
    [("80", (80, 8080)), ("8000:80", (8000, 8080)), (":81", (0, 81)), ("82", (82, 9000)), ("http", (80, 8080)), ("1:admin", (1, 9000))],
)  # fmt: skip
def test_ports_of_a_service(word: str, pair: tuple[int, int]) -> None:
    """Its own numbers and names, which lead to the ports of the pod."""
    assert forwardedports.pairs([word], POD, service()) == [pair]


def test_ports_of_a_headless_service_are_those_of_the_pod() -> None:
    """As its clients reach them."""
    assert forwardedports.pairs(["82"], POD, service(clusterIP="None")) == [(82, 82)]


@pytest.mark.parametrize(
    ("word", "of_service", "error"),
    [
        ("none", False, "Pod 'p' does not have a named port 'none'"),
        ("none", True, "Service 's' does not have a named port 'none'"),
        ("99", True, "Service s does not have a service port 99"),
        ("83", True, "Pod 'p' does not have a named port 'none'"),
        ("53", True, "UDP protocol is not supported for 53"),
        ("1:dns", False, "UDP protocol is not supported for dns"),
    ],
)
def test_ports_that_lead_nowhere(word: str, of_service: bool, error: str) -> None:
    """By name, with kubectl's words."""
    with pytest.raises(BadRequest, match=error):
        forwardedports.pairs([word], POD, service() if of_service else None)


@pytest.mark.parametrize("word", ["", "x:80", "80:", "80000", "0", ":0", "1:2:3"])
def test_what_is_no_pair(word: str) -> None:
    """Whatever ports there are."""
    with pytest.raises(BadRequest, match="is not a port pair such as"):
        forwardedports.check([word])
