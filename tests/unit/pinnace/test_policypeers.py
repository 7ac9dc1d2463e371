"""Groups of peers of NetworkPolicies: their IDs follow from what the selectors mean, and from nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from pinnace import kinds, policypeers
from tests.support.objects import make


def peer(namespace: str = "default", **fields: Any) -> Any:
    """The group of a peer, by its ID."""
    item = make(kinds.NETWORK_POLICY, "web", namespace=namespace, spec={"ingress": [{"from": [fields]}]})
    return policypeers.group_id(namespace, getattr(item.spec.ingress[0], "from")[0])


WEB = {"matchLabels": {"app": "web"}}


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"podSelector": WEB}, {"podSelector": {"matchExpressions": [expression("app", "In", "web")]}}),
        (
            {"podSelector": {"matchExpressions": [expression("a", "In", "x", "y"), expression("b", "Exists")]}},
            {"podSelector": {"matchExpressions": [expression("b", "Exists"), expression("a", "In", "y", "x", "y")]}},
        ),
        ({"namespaceSelector": WEB}, {"namespaceSelector": WEB, "podSelector": {}}),
    ],
)
def test_equal_selectors_have_one_id(one: dict[str, Any], other: dict[str, Any]) -> None:
    """In whichever form and order they are written."""
    assert peer(**one) == peer(**other)


def test_other_selectors_have_other_ids() -> None:
    """Pods of the policy's own namespace are another group than those of every namespace."""
    found = [
        peer(podSelector=WEB),
        peer("other", podSelector=WEB),
        peer(podSelector={}),
        peer(namespaceSelector={}),
        peer(namespaceSelector=WEB),
        peer(namespaceSelector=WEB, podSelector=WEB),
        peer(namespaceSelector={}, podSelector=WEB),
        peer(podSelector={"matchExpressions": [expression("app", "NotIn", "web")]}),
        peer(podSelector={"matchExpressions": [expression("app", "In", "web", "x")]}),
        peer(podSelector={"matchLabels": {"app": "web", "x": "y"}}),
    ]
    assert len(set(found)) == len(found)
    assert all(item is not None and len(item) == policypeers.ID_DIGITS for item in found)


def test_selectors_of_namespaces_are_one_group_for_policies_of_all_namespaces() -> None:
    """They do not depend on the namespace of the policy."""
    assert peer("a", namespaceSelector=WEB, podSelector=WEB) == peer("b", namespaceSelector=WEB, podSelector=WEB)


def test_a_range_of_addresses_has_no_group() -> None:
    assert peer(ipBlock={"cidr": "10.0.0.0/8"}) is None


def test_a_policy_has_groups_of_the_directions_that_it_restricts() -> None:
    """Rules of the other one have no effect, so nothing needs their pods."""
    rules = {"ingress": [{"from": [{"podSelector": WEB}]}], "egress": [{"to": [{"podSelector": {}}]}]}
    both = make(kinds.NETWORK_POLICY, "web", spec={**rules, "policyTypes": ["Ingress", "Egress"]})
    assert set(policypeers.groups_of(both)) == {peer(podSelector=WEB), peer(podSelector={})}
    one = make(kinds.NETWORK_POLICY, "web", spec={**rules, "policyTypes": ["Ingress"]})
    assert set(policypeers.groups_of(one)) == {peer(podSelector=WEB)}


@pytest.mark.parametrize("peers", [[], [{"ipBlock": {"cidr": "10.0.0.0/8"}}]], ids=["everyone", "a range"])
def test_named_ports_of_any_destination_need_the_ports_of_all_pods(peers: list[object]) -> None:
    """A name is one of the pod that receives the traffic; its number differs from pod to pod."""
    for port, groups in (("web", {policypeers.ALL_PODS.id()}), (80, set[str]())):
        rule = {"ports": [{"port": port}], "to": peers}
        item = make(kinds.NETWORK_POLICY, "web", spec={"egress": [rule], "policyTypes": ["Egress"]})
        assert set(policypeers.groups_of(item)) == groups
    incoming = {"ingress": [{"ports": [{"port": "web"}], "from": peers}], "policyTypes": ["Ingress"]}
    assert policypeers.groups_of(make(kinds.NETWORK_POLICY, "web", spec=incoming)) == {}


def test_a_selector_selects_namespaces_and_labels() -> None:
    """By the namespace's name, or by its labels."""
    item = make(
        kinds.NETWORK_POLICY, "web",
        spec={"policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": WEB}, {"namespaceSelector": WEB, "podSelector": {}}]}]},
    )  # fmt: skip
    own, other = policypeers.groups_of(item).values()
    assert own.selects_namespace("default", {})
    assert not own.selects_namespace("x", {"app": "web"})
    assert other.selects_namespace("x", {"app": "web"})
    assert not other.selects_namespace("default", {})
    assert own.selects_labels({"app": "web", "x": "y"})
    assert not own.selects_labels({})
    assert other.selects_labels({})
