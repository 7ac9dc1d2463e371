"""Node selectors: the nodes that they match."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import codec, nodeselectors
from pinnace.core.v1.scheduling_pb2 import NodeSelector
from tests.support.objects import pod

NAME, LABELS = "n1", {"disk": "ssd", "cores": "8", "empty": ""}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def selector(*terms: Any) -> NodeSelector:
    return codec.decode(NodeSelector, {"nodeSelectorTerms": list(terms)})


def label(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def named(operator: str, *values: str, key: str = nodeselectors.NAME) -> dict[str, Any]:
    return {"matchFields": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("term", "matched"),
    [
        (label("disk", "In", "hdd", "ssd"), True),
        (label("disk", "In", "hdd"), False),
        (label("absent", "In", "ssd"), False),
        (label("absent", "In", ""), False),
        (label("empty", "In", ""), True),
        (label("disk", "NotIn", "hdd"), True),
        (label("disk", "NotIn", "ssd"), False),
        (label("absent", "NotIn", "ssd"), True),
        (label("empty", "Exists"), True),
        (label("absent", "Exists"), False),
        (label("absent", "DoesNotExist"), True),
        (label("disk", "DoesNotExist"), False),
        (label("cores", "Gt", "7"), True),
        (label("cores", "Gt", "8"), False),
        (label("cores", "Lt", "9"), True),
        (label("cores", "Lt", "-9"), False),
        (label("disk", "Gt", "1"), False),
        (label("absent", "Lt", "1"), False),
        (label("cores", "Gt", "seven"), False),
        (named("In", "n1"), True),
        (named("In", "n2"), False),
        (named("NotIn", "n2"), True),
        (named("NotIn", "n1"), False),
        ({**label("disk", "In", "ssd"), **named("In", "n1")}, True),
        ({**label("disk", "In", "hdd"), **named("In", "n1")}, False),
        ({**label("disk", "In", "ssd"), **named("In", "n2")}, False),
        (
            {
                "matchExpressions": [
                    *label("disk", "Exists")["matchExpressions"],
                    *label("cores", "Lt", "1")["matchExpressions"],
                ]
            },
            False,
        ),
        ({}, False),
    ],
)
def test_a_term_matches_as_in_kubernetes(term: dict[str, Any], *, matched: bool) -> None:
    """All requirements of a term must hold; an empty term matches no node."""
    assert nodeselectors.matches(selector(term), NAME, LABELS) is matched


@pytest.mark.parametrize(
    "term",
    [
        label("disk", "NotIn"), label("disk", "Exists", "ssd"), label("cores", "Gt", "1", "2"), label("disk", "Has", "ssd"),
        label("a b", "NotIn", "x"), label("disk", "NotIn", "a b"), named("NotIn", "a", "b"), named("Exists"),
        named("NotIn", "n2", key="metadata.uid"),
    ],
)  # fmt: skip
def test_a_term_that_breaks_a_rule_matches_nothing(term: dict[str, Any]) -> None:
    """Only a store can hold one. The other terms still match."""
    assert not nodeselectors.matches(selector(term), NAME, LABELS)
    assert nodeselectors.matches(selector(term, label("disk", "Exists")), NAME, LABELS)


def test_one_of_the_terms_must_match() -> None:
    """An absent selector matches every node, one without terms none."""
    assert nodeselectors.matches(selector(label("disk", "In", "hdd"), named("In", "n1")), NAME, LABELS)
    assert nodeselectors.matches(None, NAME, LABELS)
    assert not nodeselectors.matches(selector(), NAME, LABELS)


@pytest.mark.parametrize(("disk", "node", "fits"), [("ssd", "n1", True), ("hdd", "n1", False), ("ssd", "n2", False)])
def test_a_pod_fits_by_its_selector_and_its_affinity(disk: str, node: str, *, fits: bool) -> None:
    """Both must match."""
    terms = {"nodeSelectorTerms": [named("In", node)]}
    subject = pod(nodeSelector={"disk": disk}, affinity={"nodeAffinity": {REQUIRED: terms}})
    assert nodeselectors.pod_fits(subject.spec, NAME, LABELS) is fits
    assert nodeselectors.pod_fits(pod().spec, NAME, {})
