"""Policies as elements of sets and maps, against the reference; and changes, against a compilation of everything."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.network.elements import Element
from nodeagent.network.policies import cells, evaluator, identities, reader
from nodeagent.network.policies.compiler import Changes, Compiler
from nodeagent.network.policies.evaluator import Traffic
from nodeagent.network.policies.model import IN, OUT, Block, NamedPort, Pod, PodPort, Policy, Ports, Rule
from pinnace import policypeers
from pinnace.selectors import Requirement
from tests.support.policyreference import Packet, Reference
from tests.support.policysets import Tables
from tests.support.policyworlds import OUTSIDE, PORTS, World, histories, message, worlds
from tests.unit.nodeagent.network.policies.test_blocks import some_blocks

TRAFFIC = [*(Traffic(protocol, port) for protocol in ("tcp", "udp") for port in PORTS), Traffic("sctp", 80), Traffic("icmp")]


def compiled(world: World) -> set[Element]:
    compiler = Compiler()
    compiler.change(world.changes())
    return compiler.elements()


def packet(source: str, destination: str, traffic: Traffic) -> Packet:
    return Packet(source, destination, traffic.protocol.upper(), traffic.port)


def pairs(world: World) -> list[tuple[str, str]]:
    """Source and destination of one address family; one of the two is a pod of this node."""
    local = [address for uid in sorted(world.local) for address in world.pods[uid].addresses]
    others = [*(address for pod in world.pods.values() for address in pod.addresses), *OUTSIDE]
    found = [(a, b) for a, b in itertools.product(local, others) if (":" in a) == (":" in b)]
    return [*found, *((b, a) for a, b in found)]


@settings(max_examples=300, deadline=None)
@given(worlds())
def test_every_packet_has_the_verdict_of_the_reference(world: World) -> None:
    tables, reference = Tables(compiled(world)), Reference(world)
    for (source, destination), traffic in itertools.product(pairs(world), TRAFFIC):
        expected = reference.allows(packet(source, destination, traffic))
        assert tables.passes(source, destination, traffic) == expected, (source, destination, traffic)


@settings(max_examples=300, deadline=None)
@given(worlds())
def test_the_evaluator_has_the_verdict_of_the_reference(world: World) -> None:
    """Of both ends, as `kctl net trace` asks for them."""
    changes, reference = world.changes(), Reference(world)
    policies = [item for item in changes.policies.values() if item is not None]
    local = {address: world.pods[uid] for uid in world.local for address in world.pods[uid].addresses}
    groups = {name: members or {} for name, members in changes.slices.items()}

    def allowed(direction: str, own: str, other: str, traffic: Traffic) -> bool:
        pod, peer = local.get(own), evaluator.peer_at(other, groups)
        return pod is None or evaluator.evaluate(policies, pod, peer, direction=direction, traffic=traffic).allowed

    for (source, destination), traffic in itertools.product(pairs(world), TRAFFIC):
        found = allowed(OUT, source, destination, traffic) and allowed(IN, destination, source, traffic)
        expected = reference.allows(packet(source, destination, traffic))
        assert found == expected, (source, destination, traffic)


@settings(max_examples=150, deadline=None)
@given(histories())
def test_changes_lead_to_what_a_new_agent_computes(history: list[World]) -> None:
    """Each difference, applied to the elements before it, gives the elements after it, and holds nothing that stays."""
    compiler, present = Compiler(), set[Element]()
    for old, new in itertools.pairwise([World({}, {}), *history]):
        change = compiler.change(new.changes_from(old))
        assert set(change.remove) <= present
        assert not set(change.add) & present
        present = present - set(change.remove) | set(change.add)
        assert present == compiled(new) == compiler.elements()


def test_ranges_of_all_policies_are_bounded() -> None:
    """Many policies, none of which is too large. Those that divide no other range are kept; all are back with fewer policies."""
    policies: dict[tuple[str, str], Policy | None] = {("x", "small"): policy_from("small", Block("192.0.2.0/24"), 80)}
    for number in range(100):
        policies["x", f"p{number}"] = policy_from(f"p{number}", Block("0.0.0.0/0", (f"10.{number}.0.0/16",)), 1 + number)
    compiler = Compiler(max_named=2_000)
    compiler.change(Changes(policies, {}, {"u": Pod("x", {}, ("10.244.1.2",))}))
    assert {name: len(found) > 50 for name, found in compiler.left_out.items()} == {"x": True}
    assert Element("policy_blocks_4", ("192.0.2.0/24",)) in {replace(item, value=()) for item in compiler.elements()}
    assert len(compiler.elements()) < 2_000
    compiler.change(Changes({("x", f"p{number}"): None for number in range(2, 100)}))
    assert not compiler.left_out


def test_a_namespace_within_its_share_takes_no_blocks_of_another() -> None:
    """Though it divides a wide one of the other into thousands of ranges, of which the node cannot afford all."""
    policies = dict[tuple[str, str], Policy | None](
        {
            ("few", "wide"): policy_from("wide", Block("::/0", ("fd00::/8",)), namespace="few"),
            ("many", "parts"): Policy(
                "many",
                "parts",
                (),
                frozenset({IN}),
                (Rule(IN, tuple(Block(f"2001:{number:x}::/32") for number in range(0, 7760, 2))),),
            ),
        }
    )
    for number in range(100):
        block = Block("::/0", (f"fd00:{number:x}::/32",))
        policies["many", f"p{number}"] = policy_from(f"p{number}", block, 1 + number, namespace="many")
    compiler = Compiler()
    pods = {"f": Pod("few", {}, ("fd01::1",)), "m": Pod("many", {}, ("fd01::2",))}
    compiler.change(Changes(policies, {}, dict(pods)))
    tables = Tables(compiler.elements())
    assert tables.passes("2a00::1", "fd01::1", Traffic("tcp", 80))
    assert not tables.passes("fd00::1", "fd01::1", Traffic("tcp", 80))
    assert set(compiler.left_out) == {"many"}


_RULES = st.builds(
    Rule,
    st.sampled_from((IN, OUT)),
    st.lists(some_blocks(), min_size=1, max_size=3).map(tuple),
    st.sampled_from(
        (None, (Ports("tcp", 80, 80),), (NamedPort("tcp", "web"),), (Ports("tcp", 81, 81), NamedPort("tcp", "web")))
    ),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("xy"), st.lists(_RULES, max_size=2)), min_size=1, max_size=4), st.integers(0, 12))
def test_the_evaluator_leaves_out_the_blocks_that_the_kernel_has_not(specs: list[tuple[str, list[Rule]]], most: int) -> None:
    """Peers of an egress rule with a named port are pods, for which the kernel needs no blocks."""
    named = PodPort("tcp", "web", 80)
    pods = {namespace: Pod(namespace, {}, (f"10.244.0.{number}",), (named,)) for number, namespace in enumerate("xy")}
    policies = [
        Policy(space, f"p{number}", (), frozenset({IN, OUT}), tuple(rules)) for number, (space, rules) in enumerate(specs)
    ]
    slices = {f"{policypeers.ALL_PODS.id()}.0": {"0.0.0.3": (named,)}}
    compiler = Compiler(max_named=most)
    compiler.change(Changes({(item.namespace, item.name): item for item in policies}, dict(slices), dict(pods)))
    tables = Tables(compiler.elements())
    others = ("0.0.0.1", "0.0.0.3", "127.255.255.255", "128.0.0.0", "255.255.255.255")
    for (space, pod), other, port in itertools.product(pods.items(), others, (80, 81)):
        [own], traffic, peer = pod.addresses, Traffic("tcp", port), evaluator.peer_at(other, slices)
        left_out = compiler.left_out.get(space, frozenset())
        for direction, ends in ((IN, (other, own)), (OUT, (own, other))):
            verdict = evaluator.evaluate(policies, pod, peer, direction=direction, traffic=traffic, left_out=left_out)
            assert tables.passes(*ends, traffic) == verdict.allowed, (space, direction, other, port)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from("pqr"), st.lists(_RULES, max_size=2)), min_size=1, max_size=6), st.integers(4, 40)
)
def test_changes_of_blocks_lead_to_what_a_new_agent_computes(steps: list[dict[str, list[Rule]]], most: int) -> None:
    """Policies that get other rules, each in a namespace of its own, one change after the other."""
    pods = {name: Pod(name, {}, (f"10.244.0.{number}",)) for number, name in enumerate("pqr", 1)}
    compiler, present, policies = Compiler(most), set[Element](), dict[tuple[str, str], Policy | None]()
    for number, step in enumerate(steps):
        changed = {(name, name): Policy(name, name, (), frozenset({IN, OUT}), tuple(rules)) for name, rules in step.items()}
        policies |= changed
        change = compiler.change(Changes(dict(changed), {}, dict(pods) if number == 0 else {}))
        present = present - set(change.remove) | set(change.add)
        new = Compiler(most)
        new.change(Changes(dict(policies), {}, dict(pods)))
        assert present == compiler.elements() == new.elements()


def test_a_block_that_overlaps_with_none_leaves_the_ranges_of_others() -> None:
    """They are not computed again: their identities are not acquired once more."""
    compiler = Compiler()
    policies = {("x", f"p{number}"): policy_from(f"p{number}", Block(f"10.{number}.0.0/16"), 80) for number in range(0, 20, 2)}
    compiler.change(Changes(dict(policies), {}, {"u": Pod("x", {}, ("10.244.1.2",))}))
    acquired, acquire = list[int](), compiler._identities.acquire
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            compiler._identities, "acquire", lambda family, traits: (acquired.append(family), acquire(family, traits))[1]
        )
        compiler.change(Changes({("x", "new"): policy_from("new", Block("192.0.2.0/24"), 81)}))
    assert acquired == [4]


def policy_from(name: str, block: Block, port: int = 0, *, namespace: str = "x") -> Policy:
    """Lets a range of addresses in, to all pods of a namespace and every port, or one."""
    ports = (Ports("tcp", port, port),) if port else None
    return Policy(namespace, name, (), frozenset({IN}), (Rule(IN, (block,), ports),))


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_identities_and_cells_that_hash_alike_have_different_numbers(world: World) -> None:
    """A user may choose labels and names for such hashes: 32 bits are few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identities, "_hash", lambda key: 0xFFFFFFFE)
        patch.setattr(cells, "_hash", lambda text: 0xFFFFFFFE)
        tables, reference = Tables(compiled(world)), Reference(world)
    for (source, destination), traffic in itertools.product(pairs(world), TRAFFIC[:3]):
        expected = reference.allows(packet(source, destination, traffic))
        assert tables.passes(source, destination, traffic) == expected, (source, destination, traffic)


def test_a_member_costs_one_element_and_a_policy_what_it_grants() -> None:
    """Whatever else the node has: a hundred pods of the group, and ten local ones, for which a port is one element."""
    rule: dict[str, Any] = {"from": [{"podSelector": {}}], "ports": [{"port": 80}]}
    others = {f"o{number}": Pod("x", {}, (f"10.1.0.{number}",)) for number in range(100)}
    local = {f"l{number}": Pod("x", {}, (f"10.0.0.{number}",)) for number in range(10)}
    world = World({"x": {}}, {**others, **local}, {("x", "web"): {"ingress": [rule]}}, frozenset(local))
    compiler = Compiler()
    compiler.change(world.changes())
    more = replace(world, pods={**world.pods, "new": Pod("x", {}, ("10.2.0.1",))})
    change = compiler.change(more.changes_from(world))
    assert ([item.container for item in change.add], change.remove) == (["policy_spaces_4"], ())
    granted = replace(more, policies={("x", "web"): {"ingress": [{**rule, "ports": [*rule["ports"], {"port": 81}]}]}})
    change = compiler.change(granted.changes_from(more))
    assert ([item.container for item in change.add], change.remove) == (["policy_in_1_4"], ())


def test_a_policy_that_selects_no_pod_of_the_node_costs_nothing() -> None:
    spec = {"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [{}], "policyTypes": ["Ingress"]}
    pods = {"1": Pod("x", {}, ("10.0.0.1",)), "2": Pod("x", {"app": "a"}, ("10.0.0.2",))}
    assert compiled(World({"x": {}}, pods, {("x", "a"): spec}, frozenset({"1"}))) == set()


def many(count: int) -> dict[tuple[str, str], Policy | None]:
    """Policies that all select every pod of a namespace, each with a port of its own, for two peers."""
    specs = (
        {
            "podSelector": {},
            "ingress": [{"from": [{"podSelector": {}}, {"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [port]}],
        }
        for port in ({"port": 1 + number} for number in range(count))
    )
    read = (
        reader.policy(message("x", f"p{number}", {**spec, "policyTypes": ["Ingress"]})) for number, spec in enumerate(specs)
    )
    return {(item.namespace, item.name): item for item in read}


def test_a_pod_like_others_costs_no_ports() -> None:
    """With a thousand policies, and labels that none of them names: its isolation, and an element for each of two peers."""
    compiler, pods = Compiler(), {f"l{number}": Pod("x", {"n": str(number)}, (f"10.0.0.{number}",)) for number in range(10)}
    compiler.change(Changes(many(1000), {"g.0": {}}, dict(pods)))
    group = next(peer.group for peer in next(iter(many(1).values())).rules[0].peers if not isinstance(peer, Block))  # type: ignore[union-attr]
    compiler.change(Changes(slices={f"{group}.0": {"10.9.0.1": ()}}))
    before = compiler.elements()
    change = compiler.change(Changes(pods={"new": Pod("x", {"n": "new"}, ("10.0.1.1",))}))
    found = sorted(item.container for item in change.add)
    assert (found, change.remove) == (["policy_in_cells_4", "policy_in_cells_4", "policy_in_pods_4", "policy_self_4"], ())
    compiler.change(Changes(pods={"new": None}))
    assert compiler.elements() == before
    assert len(before) == 2 * 1000 + 4 * len(pods) + 2


def test_a_label_that_a_selector_names_first_costs_the_pods_that_have_it() -> None:
    """Others keep their cells: the first policy that names the label changes nothing of them."""
    compiler = Compiler()
    pods = {f"l{number}": Pod("x", {"role": "db"} if number == 0 else {}, (f"10.0.0.{number}",)) for number in range(10)}
    compiler.change(Changes(many(100), {}, dict(pods)))
    policy = replace(policy_from("db", Block("192.0.2.0/24")), selector=(Requirement("role", "In", ("db",)),))
    change = compiler.change(Changes({("x", "db"): policy}))
    assert {item.key[0] for item in change.add if item.container == "policy_in_any_4"} == {"10.0.0.0"}
    assert {item.key[0] for item in change.remove if item.container == "policy_in_cells_4"} == {"10.0.0.0"}
    assert not [item for item in change.remove if item.container == "policy_in_1_4"]


def test_policies_that_are_deleted_at_once_leave_nothing() -> None:
    compiler = Compiler()
    compiler.change(Changes(many(100), {}, {"a": Pod("x", {}, ("10.0.0.1",)), "b": Pod("x", {}, ("10.0.0.2",))}))
    before = compiler.elements()
    change = compiler.change(Changes(dict.fromkeys(many(100))))
    assert (set(change.remove), compiler.elements()) == (before, set())


def test_the_blocks_of_a_rule_share_an_identity() -> None:
    """Those of two rules have one for each of the rules, and one for both: so many elements each pod has."""
    blocks = [[Block(f"10.{rule}.{number}.0/24") for number in range(0, 200, 2)] for rule in (8, 9)] + [[Block("10.9.0.0/16")]]
    rules = tuple(Rule(IN, tuple(found), (Ports("tcp", port, port),)) for port, found in enumerate(blocks, 1))
    policy = replace(policy_from("p", Block("192.0.2.0/24")), rules=rules)
    compiler = Compiler()
    compiler.change(Changes({("x", "p"): policy}, {}, {"a": Pod("x", {}, ("10.0.0.1",)), "b": Pod("x", {}, ("10.0.0.2",))}))
    found = [item for item in compiler.elements() if item.container == "policy_in_cells_4"]
    assert len({item.key[1] for item in found}) == 3
    assert len(found) == 2 * 3


def test_blocks_with_the_same_rights_share_an_identity() -> None:
    """Of different policies; one that gets a right of its own has its own identity, and loses it again."""
    policies = {("x", f"p{number}"): policy_from(f"p{number}", Block(f"10.{number}.0.0/24"), 80) for number in range(100)}
    compiler, pods = Compiler(), {"a": Pod("x", {}, ("10.0.0.1",))}
    compiler.change(Changes(dict(policies), {}, dict(pods)))
    before = compiler.elements()
    assert len({item.value for item in before if item.container == "policy_blocks_4"}) == 1
    for number in range(100):
        compiler.change(Changes({("x", f"p{number}"): policy_from(f"p{number}", Block(f"10.{number}.0.0/24"), 81)}))
        values = {item.key[0]: item.value for item in compiler.elements() if item.container == "policy_blocks_4"}
        alone = values.pop(f"10.{number}.0.0/24")
        assert (len(set(values.values())), alone in values.values()) == (1, False)
        compiler.change(Changes({("x", f"p{number}"): policies["x", f"p{number}"]}))
        assert compiler.elements() == before
