"""NetworkPolicies by upstream's scenarios, each with a truth table of every pair of nine pods that is probed for real."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.support.labs import running
from tests.support.policymatrix import Allowed, Ends, Matrix, name_of, policy, space_of
from tests.support.prober import TCP, UDP

pytestmark = pytest.mark.root
INGRESS, EGRESS, BOTH = ["Ingress"], ["Egress"], ["Ingress", "Egress"]


@pytest.fixture(scope="module")
def lab_matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    with running("t-netpol", tmp_path_factory.mktemp("netpol"), nodes=3) as lab:
        found = Matrix(lab)
        yield found
        found.prober.close()


@pytest.fixture
def matrix(lab_matrix: Matrix) -> Iterator[Matrix]:
    yield lab_matrix
    lab_matrix.clear()


def labels(**values: str) -> dict[str, Any]:
    return {"matchLabels": values}


def one_of(key: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": "In", "values": list(values)}]}


def none_of(key: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": "NotIn", "values": list(values)}]}


A = labels(pod="a")


def pods(selector: dict[str, Any]) -> dict[str, Any]:
    return {"podSelector": selector}


def spaces(selector: dict[str, Any]) -> dict[str, Any]:
    return {"namespaceSelector": selector}


def port(number: int | str, protocol: str = "TCP", last: int | None = None) -> dict[str, Any]:
    return {"port": number, "protocol": protocol, **({"endPort": last} if last is not None else {})}


class Scenario(NamedTuple):
    """Policies (namespace and spec), and the traffic that they allow."""

    policies: list[tuple[str, dict[str, Any]]]
    allowed: Allowed


def to(key: str, ends: Ends) -> bool:
    return ends.target == key


def into(space: str, ends: Ends) -> bool:
    return space_of(ends.target) == space


SCENARIOS = {
    "no policy": Scenario([], lambda ends: True),
    "default deny of ingress": Scenario([("x", {"policyTypes": INGRESS})], lambda ends: not into("x", ends)),
    "default deny of both": Scenario(
        [("x", {"policyTypes": BOTH})], lambda ends: not into("x", ends) and space_of(ends.source) != "x"
    ),
    "ingress to one pod from all pods of its namespace": Scenario(
        [("x", {"podSelector": A, "ingress": [{"from": [pods({})]}]})],
        lambda ends: not to("x/a", ends) or space_of(ends.source) == "x",
    ),
    "ingress from pods of all namespaces": Scenario(
        [("x", {"podSelector": A, "ingress": [{"from": [spaces({})]}]})], lambda ends: True
    ),
    "ingress from another namespace alone": Scenario(
        [("x", {"podSelector": A, "ingress": [{"from": [spaces(labels(ns="y"))]}]})],
        lambda ends: not to("x/a", ends) or space_of(ends.source) == "y",
    ),
    "pods by expression": Scenario(
        [("x", {"podSelector": A, "ingress": [{"from": [pods(one_of("pod", "b"))]}]})],
        lambda ends: not to("x/a", ends) or ends.source == "x/b",
    ),
    "namespaces by expression": Scenario(
        [("x", {"podSelector": A, "ingress": [{"from": [spaces(one_of("ns", "y", "z"))]}]})],
        lambda ends: not to("x/a", ends) or space_of(ends.source) in "yz",
    ),
    "pods or namespaces": Scenario(
        [("x", {"podSelector": A, "ingress": [{"from": [spaces(none_of("ns", "x")), pods(labels(pod="b"))]}]})],
        lambda ends: not to("x/a", ends) or space_of(ends.source) != "x" or ends.source == "x/b",
    ),
    "pods and namespaces": Scenario(
        [("x", {"podSelector": A, "ingress": [{"from": [{**spaces(none_of("ns", "x")), **pods(labels(pod="b"))}]}]})],
        lambda ends: not to("x/a", ends) or ends.source in ("y/b", "z/b"),
    ),
    "several selectors of both": Scenario(
        [
            (
                "x",
                {
                    "podSelector": A,
                    "ingress": [{"from": [{**spaces(none_of("ns", "x")), **pods(none_of("pod", "a"))}, pods(one_of("pod", "c"))]}],
                },
            )
        ],
        lambda ends: not to("x/a", ends)
        or (space_of(ends.source) != "x" and name_of(ends.source) != "a")
        or ends.source == "x/c",
    ),
    "an empty selector of pods with one of namespaces": Scenario(
        [("x", {"podSelector": A, "ingress": [{"from": [{**spaces(none_of("ns", "x")), **pods({})}]}]})],
        lambda ends: not to("x/a", ends) or space_of(ends.source) != "x",
    ),
    "one pod of another namespace": Scenario(
        [("x", {"podSelector": A, "ingress": [{"from": [{**spaces(labels(ns="y")), **pods(A)}]}]})],
        lambda ends: not to("x/a", ends) or ends.source == "y/a",
    ),
    "namespaces by their own name": Scenario(
        [("x", {"ingress": [{"from": [spaces(labels(**{"kubernetes.io/metadata.name": "z"}))]}]})],
        lambda ends: not into("x", ends) or space_of(ends.source) == "z",
    ),
    "a port": Scenario(
        [("x", {"podSelector": A, "ingress": [{"from": [spaces(labels(ns="y"))], "ports": [port(81)]}]})],
        lambda ends: not to("x/a", ends) or (space_of(ends.source) == "y" and (ends.port, ends.protocol) == (81, TCP)),
    ),
    "stacked policies with overlapping selectors": Scenario(
        [
            ("x", {"podSelector": A, "ingress": [{"from": [spaces(labels(ns="y"))], "ports": [port(81)]}]}),
            ("x", {"podSelector": A, "ingress": [{"from": [spaces(labels(ns="y"))], "ports": [port(80)]}]}),
            ("x", {"ingress": [{"from": [pods({})], "ports": [port(80, "UDP")]}]}),
        ],
        lambda ends: not into("x", ends)
        or (to("x/a", ends) and space_of(ends.source) == "y" and ends.protocol == TCP)
        or (space_of(ends.source) == "x" and (ends.port, ends.protocol) == (80, UDP)),
    ),
    "allow all": Scenario([("x", {"ingress": [{}]})], lambda ends: True),
    "a named port of the pod": Scenario(
        [("x", {"ingress": [{"ports": [port("serve-81-tcp")]}]})],
        lambda ends: not into("x", ends) or (ends.port, ends.protocol) == (81, TCP),
    ),
    "a named port, from one namespace": Scenario(
        [("x", {"podSelector": A, "ingress": [{"from": [spaces(labels(ns="y"))], "ports": [port("serve-80-udp", "UDP")]}]})],
        lambda ends: not to("x/a", ends) or (space_of(ends.source) == "y" and (ends.port, ends.protocol) == (80, UDP)),
    ),
    "a named port that is of another protocol": Scenario(
        [("x", {"ingress": [{"ports": [port("serve-80-udp", "TCP")]}]})], lambda ends: not into("x", ends)
    ),
    "egress to one named port anywhere": Scenario(
        [("x", {"egress": [{"ports": [port("serve-80-tcp")]}], "policyTypes": EGRESS})],
        lambda ends: space_of(ends.source) != "x" or (ends.port, ends.protocol) == (80, TCP),
    ),
    "egress to a named port of some pods": Scenario(
        [("x", {"egress": [{"to": [spaces(labels(ns="y"))], "ports": [port("serve-81-udp", "UDP")]}], "policyTypes": EGRESS})],
        lambda ends: space_of(ends.source) != "x" or (into("y", ends) and (ends.port, ends.protocol) == (81, UDP)),
    ),
    "deny other namespaces": Scenario(
        [(space, {"ingress": [{"from": [pods({})]}]}) for space in "xyz"],
        lambda ends: space_of(ends.source) == space_of(ends.target),
    ),
    "deny egress of one pod": Scenario(
        [("x", {"podSelector": A, "policyTypes": EGRESS})], lambda ends: ends.source != "x/a"
    ),
    "deny egress of a namespace": Scenario([("x", {"policyTypes": EGRESS})], lambda ends: space_of(ends.source) != "x"),
    "ingress and egress in one policy": Scenario(
        [
            (
                "x",
                {
                    "podSelector": A,
                    "ingress": [{"from": [spaces(labels(ns="y"))], "ports": [port(80)]}],
                    "egress": [{"to": [spaces(labels(ns="z"))], "ports": [port(81, "UDP")]}],
                    "policyTypes": BOTH,
                },
            )
        ],
        lambda ends: (not to("x/a", ends) or (space_of(ends.source) == "y" and (ends.port, ends.protocol) == (80, TCP)))
        and (ends.source != "x/a" or (into("z", ends) and (ends.port, ends.protocol) == (81, UDP))),
    ),
    "egress denied though the server allows it": Scenario(
        [
            ("x", {"podSelector": A, "egress": [{"to": [spaces(labels(ns="y"))]}], "policyTypes": EGRESS}),
            ("y", {"podSelector": A, "ingress": [{"from": [spaces(labels(ns="x"))]}]}),
            ("z", {"podSelector": A, "ingress": [{"from": [spaces(labels(ns="x"))]}]}),
        ],
        lambda ends: (ends.source != "x/a" or into("y", ends))
        and (ends.target not in ("y/a", "z/a") or space_of(ends.source) == "x"),
    ),
    "egress to one pod of another namespace": Scenario(
        [("x", {"podSelector": A, "egress": [{"to": [{**spaces(labels(ns="y")), **pods(A)}]}], "policyTypes": EGRESS})],
        lambda ends: ends.source != "x/a" or to("y/a", ends),
    ),
    "any port of one protocol": Scenario(
        [("x", {"podSelector": A, "ingress": [{"ports": [{"protocol": "TCP"}]}]})],
        lambda ends: not to("x/a", ends) or ends.protocol == TCP,
    ),
    "ingress: allow all takes precedence": Scenario(
        [("x", {"ingress": [{"ports": [port(80)]}]}), ("x", {"policyTypes": INGRESS}), ("x", {"ingress": [{}]})],
        lambda ends: True,
    ),
    "egress: allow all takes precedence": Scenario(
        [("x", {"egress": [{"ports": [port(80)]}], "policyTypes": EGRESS}), ("x", {"egress": [{}], "policyTypes": EGRESS})],
        lambda ends: True,
    ),
    "SCTP is not TCP": Scenario(
        [("x", {"podSelector": A, "ingress": [{"ports": [port(80, "SCTP")]}]})], lambda ends: not to("x/a", ends)
    ),
    "UDP is not TCP": Scenario(
        [("x", {"podSelector": A, "ingress": [{"ports": [port(80, "UDP")]}]})],
        lambda ends: not to("x/a", ends) or (ends.port, ends.protocol) == (80, UDP),
    ),
    "a range of ports": Scenario(
        [("x", {"podSelector": A, "ingress": [{"ports": [port(81, "TCP", 30000), port(1, "UDP", 80)]}]})],
        lambda ends: not to("x/a", ends) or (ends.port, ends.protocol) in ((81, TCP), (80, UDP)),
    ),
    "egress to a range of ports": Scenario(
        [("x", {"egress": [{"ports": [port(79, "TCP", 80)]}], "policyTypes": EGRESS})],
        lambda ends: space_of(ends.source) != "x" or (ends.port, ends.protocol) == (80, TCP),
    ),
    "rules of a direction that is not restricted": Scenario(
        [("x", {"egress": [{"to": [pods(A)]}], "policyTypes": INGRESS})], lambda ends: not into("x", ends)
    ),
    "a policy that selects no pod": Scenario(
        [("x", {"podSelector": labels(pod="none"), "policyTypes": BOTH})], lambda ends: True
    ),
}  # fmt: skip

# Of those that deny nothing, the direction that they do not restrict. A further policy that denies it shows that the policies
# before it, of the same namespace, have come to each node of its pods: without them everything is allowed too.
OPEN = {
    "ingress from pods of all namespaces": "Egress", "allow all": "Egress", "ingress: allow all takes precedence": "Egress",
    "egress: allow all takes precedence": "Ingress", "a policy that selects no pod": "Ingress",
}  # fmt: skip


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario(matrix: Matrix, name: str) -> None:
    policies = [policy(space, f"policy-{number}", **spec) for number, (space, spec) in enumerate(SCENARIOS[name].policies)]
    if policies:
        matrix.apply(*policies)
    matrix.check(SCENARIOS[name].allowed)
    if name in OPEN:
        matrix.policy("x", "marker", policyTypes=[OPEN[name]])
        matrix.check(lambda ends: (into("x", ends) if OPEN[name] == "Ingress" else space_of(ends.source) == "x") is False)


def test_ranges_of_addresses(matrix: Matrix) -> None:
    """Those of pods too; an exception of one range is no exception of another one."""
    server, other = matrix.address("y/b"), matrix.address("y/c")
    matrix.policy("x", "block", podSelector=A, egress=[{"to": [{"ipBlock": {"cidr": f"{server}/32"}}]}], policyTypes=EGRESS)
    matrix.check(lambda ends: ends.source != "x/a" or ends.target == "y/b")
    cluster = {"cidr": "10.244.0.0/16", "except": [f"{server}/32", f"{other}/32"]}
    matrix.policy("x", "block", podSelector=A, egress=[{"to": [{"ipBlock": cluster}]}], policyTypes=EGRESS)
    matrix.check(lambda ends: ends.source != "x/a" or ends.target not in ("y/b", "y/c"))
    matrix.policy("x", "more", podSelector=A, egress=[{"to": [{"ipBlock": {"cidr": f"{server}/32"}}]}], policyTypes=EGRESS)
    matrix.check(lambda ends: ends.source != "x/a" or ends.target != "y/c")
    client = matrix.address("z/a")
    matrix.policy("y", "block", podSelector=labels(pod="b"), ingress=[{"from": [{"ipBlock": {"cidr": f"{client}/32"}}]}])
    matrix.check(
        lambda ends: (
            (ends.source != "x/a" or ends.target not in ("y/b", "y/c")) and (ends.target != "y/b" or ends.source == "z/a")
        )
    )


def test_a_policy_that_changes(matrix: Matrix) -> None:
    """From allowing everything to nothing, to one namespace, and away."""
    matrix.policy("x", "p", podSelector=A, ingress=[{}])
    matrix.check(lambda ends: True)
    matrix.policy("x", "p", podSelector=A, ingress=[], policyTypes=INGRESS)
    matrix.check(lambda ends: ends.target != "x/a")
    matrix.policy("x", "p", podSelector=A, ingress=[{"from": [spaces(labels(ns="z"))]}])
    matrix.check(lambda ends: ends.target != "x/a" or space_of(ends.source) == "z")
    matrix.lab.kctl("delete", "networkpolicy", "p", "-n", "x")
    matrix.check(lambda ends: True)


def test_labels_that_change(matrix: Matrix) -> None:
    """Of a namespace and of a pod among the peers, and of the pod that a policy selects."""
    matrix.policy("x", "peers", podSelector=A, ingress=[{"from": [spaces(labels(ns2="new")), pods(labels(pod2="new"))]}])
    matrix.check(lambda ends: ends.target != "x/a")
    matrix.lab.kctl("label", "namespace", "y", "ns2=new")
    matrix.check(lambda ends: ends.target != "x/a" or space_of(ends.source) == "y")
    matrix.lab.kctl("label", "pod", "c", "-n", "x", "pod2=new")
    matrix.check(lambda ends: ends.target != "x/a" or space_of(ends.source) == "y" or ends.source == "x/c")
    matrix.lab.kctl("label", "namespace", "y", "ns2-")
    matrix.check(lambda ends: ends.target != "x/a" or ends.source == "x/c")
    matrix.policy("x", "selected", podSelector=labels(pod2="new"), policyTypes=INGRESS)
    matrix.check(lambda ends: ends.target != "x/c" and (ends.target != "x/a" or ends.source == "x/c"))
    matrix.lab.kctl("label", "pod", "c", "-n", "x", "pod2-")
    matrix.check(lambda ends: ends.target != "x/a")


def test_the_directions_are_independent(matrix: Matrix) -> None:
    """A pod with rules of both has each changed without the other."""
    towards, came = {"to": [pods(labels(pod="b"))]}, {"from": [pods(labels(pod="c"))]}
    matrix.policy("x", "p", podSelector=A, ingress=[came], egress=[towards], policyTypes=BOTH)

    def expected(ingress: str, egress: str, ends: Ends) -> bool:
        return (ends.target != "x/a" or ends.source == ingress) and (ends.source != "x/a" or ends.target == egress)

    matrix.check(lambda ends: expected("x/c", "x/b", ends))
    matrix.policy("x", "p", podSelector=A, ingress=[came], egress=[{"to": [pods(labels(pod="c"))]}], policyTypes=BOTH)
    matrix.check(lambda ends: expected("x/c", "x/c", ends))
    matrix.policy("x", "p", podSelector=A, ingress=[{"from": [pods(labels(pod="b"))]}], policyTypes=INGRESS)
    matrix.check(lambda ends: ends.target != "x/a" or ends.source == "x/b")


def test_every_combination_of_namespaces(matrix: Matrix) -> None:
    """A ring: each namespace admits the next one, and no other."""
    ring = dict(zip("xyz", "yzx", strict=True))
    for space, following in ring.items():
        matrix.policy(space, "ring", ingress=[{"from": [spaces(labels(ns=following))], "ports": [port(80), port(81, "UDP")]}])
    good = set(itertools.product((80,), (TCP,))) | {(81, UDP)}
    matrix.check(lambda ends: ring[space_of(ends.target)] == space_of(ends.source) and (ends.port, ends.protocol) in good)
