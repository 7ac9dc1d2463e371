"""Which endpoints get new connections: kube-proxy's table of cases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodeagent.network.services.model import Endpoint, Facts, ServiceInfo, Target
from nodeagent.network.services.selection import Selection, ready_here, select

FACTS = Facts("here", "z1")
CLUSTER, INTERNAL, EXTERNAL = ServiceInfo("x"), ServiceInfo("x", internal_local=True), ServiceInfo("x", external_local=True)
BOTH = ServiceInfo("x", internal_local=True, external_local=True)


def at(number: int, node: str = "there", **state: object) -> Endpoint:
    return replace(Endpoint(Target(f"10.0.0.{number}", 80), node), **state)  # type: ignore[arg-type]


def ending(number: int, node: str = "there") -> Endpoint:
    return at(number, node, ready=False, serving=True, terminating=True)


def gone(number: int, node: str = "there") -> Endpoint:
    return at(number, node, ready=False, serving=False, terminating=True)


def targets(*numbers: int) -> tuple[Target, ...]:
    return tuple(Target(f"10.0.0.{number}", 80) for number in numbers)


@pytest.mark.parametrize(
    ("endpoints", "service", "expected"),
    [
        ([], CLUSTER, Selection()),
        ([at(1), at(2, "here")], CLUSTER, Selection(targets(1, 2), (), True)),
        ([at(1), ending(2), gone(3), at(4, ready=False, serving=False)], CLUSTER, Selection(targets(1), (), True)),
        ([ending(1), gone(2), ending(3, "here")], CLUSTER, Selection(targets(1, 3), (), True)),
        ([gone(1), at(2, ready=False, serving=False)], CLUSTER, Selection()),
        # Local: of this node; those that terminate only if it has none that is ready, whatever other nodes have.
        ([at(1), at(2, "here"), ending(3, "here")], INTERNAL, Selection(targets(1, 2), targets(2), True)),
        ([at(1), ending(3, "here")], INTERNAL, Selection(targets(1), targets(3), True)),
        ([at(1), ending(3, "here")], EXTERNAL, Selection(targets(1), targets(3), True)),
        ([at(1), gone(3, "here")], EXTERNAL, Selection(targets(1), (), True)),
        # Pods of this node are led to every endpoint by a NodePort, whatever the policies.
        ([at(1), at(2, "here")], BOTH, Selection(targets(1, 2), targets(2), True)),
        ([at(1)], BOTH, Selection(targets(1), (), True)),
    ],
)
def test_readiness_and_traffic_policies(endpoints: list[Endpoint], service: ServiceInfo, expected: Selection) -> None:
    assert select(endpoints, service, FACTS) == expected


def zones(number: int, *names: str, nodes: tuple[str, ...] = (), **state: object) -> Endpoint:
    return at(number, zones=frozenset(names), nodes=frozenset(nodes), **state)


@pytest.mark.parametrize(
    ("endpoints", "facts", "expected"),
    [
        ([zones(1, "z1"), zones(2, "z2"), zones(3, "z2", "z1")], FACTS, targets(1, 3)),
        # A hint that is missing, a zone without endpoints, a node without a zone: all are used.
        ([zones(1, "z1"), zones(2)], FACTS, targets(1, 2)),
        ([zones(1, "z2"), zones(2, "z3")], FACTS, targets(1, 2)),
        ([zones(1, "z1"), zones(2, "z2")], Facts("here"), targets(1, 2)),
        # Those that are not ready have no say.
        ([zones(1, "z1"), zones(2, "z2"), zones(3, ready=False, serving=False)], FACTS, targets(1)),
        # Hints of nodes come first.
        ([zones(1, "z1", nodes=("there",)), zones(2, "z1", nodes=("here",))], FACTS, targets(2)),
        ([zones(1, "z1", nodes=("there",)), zones(2, "z2", nodes=("other",))], FACTS, targets(1)),
        ([zones(1, "z1"), zones(2, "z1", nodes=("here",)), zones(3, "z2")], FACTS, targets(1, 2)),
    ],
)
def test_hints_choose_among_the_ready_ones(endpoints: list[Endpoint], facts: Facts, expected: tuple[Target, ...]) -> None:
    assert select(endpoints, CLUSTER, facts).cluster == expected


def test_hints_do_not_concern_local_traffic() -> None:
    found = select(
        [
            zones(
                1,
                "z2",
            ),
            at(2, "here", zones=frozenset({"z2"})),
        ],
        INTERNAL,
        FACTS,
    )
    assert found.local == targets(2)


def test_health_checks_count_the_ready_addresses_of_this_node() -> None:
    assert ready_here([at(1, "here"), ending(2, "here"), at(3)], FACTS) == {"10.0.0.1"}
