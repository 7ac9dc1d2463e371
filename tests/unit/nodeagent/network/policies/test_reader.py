"""Policies, groups and pods as the API has them, read to what a node enforces."""

from __future__ import annotations

from typing import Any

import pytest

from nodeagent.network.policies import reader
from nodeagent.network.policies.model import IN, OUT, Block, NamedPort, Pod, PodPort, Policy, Ports, Rule, Selection
from pinnace.api.v1 import nodes_pb2
from pinnace.policypeers import PeerSelector
from pinnace.selectors import Requirement
from tests.support.objects import pod
from tests.support.policyworlds import message

WEB = {"matchLabels": {"app": "web"}}
IS_WEB = (Requirement("app", "In", ("web",)),)


def read(**spec: Any) -> Policy:
    return reader.policy(message("default", "p", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], **spec}))


def test_rules_of_a_direction_that_is_not_restricted_are_left_out() -> None:
    found = read(ingress=[{}], egress=[{}], policyTypes=["Egress"])
    assert (found.directions, found.rules) == (frozenset({OUT}), (Rule(OUT),))


def test_empty_lists_allow_everything_and_a_missing_rule_nothing() -> None:
    assert read(ingress=[{}]).rules == (Rule(IN, None, None),)
    assert read(ingress=[{"from": [], "ports": []}]).rules == (Rule(IN, None, None),)
    assert read().rules == ()


def test_peers() -> None:
    """Groups by the ID that the control plane uses too; those of whole namespaces are marked."""
    peers = [
        {"podSelector": WEB}, {"namespaceSelector": WEB}, {"namespaceSelector": WEB, "podSelector": WEB},
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.2.0.0/16", "10.1.0.0/16"]}},
    ]  # fmt: skip
    [rule] = read(ingress=[{"from": peers}]).rules
    assert rule.peers == (
        Selection(PeerSelector("default", (), IS_WEB).id()), Selection(PeerSelector("", IS_WEB, ()).id(), True),
        Selection(PeerSelector("", IS_WEB, IS_WEB).id()), Block("10.0.0.0/8", ("10.1.0.0/16", "10.2.0.0/16")),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ({}, Ports("tcp", 0, 65535)),
        ({"protocol": "UDP"}, Ports("udp", 0, 65535)),
        ({"port": 80}, Ports("tcp", 80, 80)),
        ({"port": 80, "endPort": 90, "protocol": "SCTP"}, Ports("sctp", 80, 90)),
        ({"port": "web"}, NamedPort("tcp", "web")),
    ],
)
def test_ports(port: dict[str, Any], expected: Ports | NamedPort) -> None:
    [rule] = read(egress=[{"ports": [port]}]).rules
    assert rule.ports == (expected,)


def test_what_cannot_be_read_allows_nothing() -> None:
    """A rule without peers or ports would allow all of them."""
    [rule] = read(
        ingress=[{"from": [{"ipBlock": {"cidr": "none"}}], "ports": [{"port": 80, "protocol": "NEW"}, {"port": 0}]}]
    ).rules
    assert rule == Rule(IN, (), ())


def test_a_policy_is_bounded() -> None:
    """In peers and ports together, and in ranges of addresses that overlap, whose number squared would count. What is beyond
    allows nothing."""
    problems = list[str]()
    many = [{"ipBlock": {"cidr": f"10.{number >> 8}.{number & 255}.0/24"}} for number in range(5000)]
    ports = [{"port": number} for number in range(1, 1001)]
    spec: dict[str, Any] = {"podSelector": {}, "policyTypes": ["Ingress"]}
    rules = [{"from": many}, {"from": many, "ports": ports}, {"ports": ports}]
    found = reader.policy(message("default", "p", {**spec, "ingress": rules}), problems)
    assert [None if rule.peers is None else len(rule.peers) for rule in found.rules] == [5000, 15, 0]
    assert problems == ["4986 of 10001 peers are left out: there are too many, with too many ports"]
    wide = [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [item["ipBlock"]["cidr"]]}} for item in many]
    found = reader.policy(message("default", "p", {**spec, "ingress": [{"from": [*many, *wide]}]}), problems)
    assert set(found.rules[0].peers or ()) >= {Block(item["ipBlock"]["cidr"]) for item in many}
    assert len(found.rules[0].peers or ()) < 5010
    assert len(problems) == 2


def test_a_group_has_the_ports_of_each_address() -> None:
    port = nodes_pb2.NamedPort(name="web", protocol="TCP", port=80)
    wrong = nodes_pb2.NamedPort(name="web", protocol="TCP", port=-1)
    found = reader.group(
        nodes_pb2.PolicyGroup(
            members=[
                nodes_pb2.PolicyGroupMember(podIPs=["10.244.1.2", "fd00:0::2", "no address"], ports=[port]),
                nodes_pb2.PolicyGroupMember(podIPs=["10.244.1.3"]),
                # Neither a zone nor such a port can be a part of an element.
                nodes_pb2.PolicyGroupMember(podIPs=["fe80::1%eth0 }", "10.244.1.4"], ports=[wrong]),
            ]
        )
    )
    web = (PodPort("tcp", "web", 80),)
    assert found == {"10.244.1.2": web, "fd00::2": web, "10.244.1.3": (), "10.244.1.4": ()}


def test_a_pods_named_ports_are_those_of_containers_that_stay() -> None:
    ports = [{"name": "web", "containerPort": 80, "protocol": "TCP"}, {"containerPort": 81, "protocol": "TCP"}]
    item = pod(meta={"uid": "u1", "labels": {"app": "web"}})
    item.spec.containers[0].ports.add(**ports[0])
    item.spec.containers[0].ports.add(**ports[1])
    sidecar, ends = (
        item.spec.initContainers.add(name="sidecar", restartPolicy="Always"),
        item.spec.initContainers.add(name="ends"),
    )
    sidecar.ports.add(name="dns", containerPort=53, protocol="UDP")
    ends.ports.add(name="none", containerPort=1, protocol="TCP")
    found = reader.pod(item, ["10.244.1.2"])
    assert found == Pod("default", {"app": "web"}, ("10.244.1.2",), (PodPort("tcp", "web", 80), PodPort("udp", "dns", 53)))


def test_groups_of_one_policy_are_bounded() -> None:
    """Each may be an element for each pod. Blocks of a rule are one."""
    labels = [{"podSelector": {"matchLabels": {"app": f"a{number}"}}} for number in range(2500)]
    ranges = [{"ipBlock": {"cidr": f"10.{number}.0.0/24"}} for number in range(100)]
    problems = list[str]()
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": labels + ranges}, {"from": ranges}]}
    found = reader.policy(message("x", "large", spec), problems)
    counts = [len(rule.peers or ()) for rule in found.rules]
    assert counts == [1999 + 100, 0]
    assert problems == ["601 of 2700 peers are left out: there are too many, with too many ports"]
