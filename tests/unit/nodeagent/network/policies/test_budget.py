"""The share of a namespace in a node's policies: which of them allow nothing, and since when."""

from __future__ import annotations

from nodeagent.network.policies import reader
from nodeagent.network.policies.budget import Budget, Size, size
from nodeagent.network.policies.model import IN, OUT, Block, Policy, Ports, Rule, Selection
from tests.support.policyworlds import message


def policy(name: str, grants: int, *, namespace: str = "x", created: float = 0) -> Policy:
    peers = tuple(Block(f"10.0.{number}.0/24") for number in range(grants))
    return Policy(namespace, name, (), frozenset({IN}), (Rule(IN, peers),), created)


def key(name: str, namespace: str = "x") -> tuple[str, str]:
    return namespace, name


def test_a_grant_is_a_peer_with_a_port_and_a_source_a_group_or_all_blocks_of_a_rule() -> None:
    """A range of ports has several blocks."""
    peers = Block("10.0.0.0/8"), Block("11.0.0.0/8"), Selection("g"), Selection("h")
    rule = Rule(IN, peers, (Ports("tcp", 1, 1), Ports("tcp", 15, 32)))
    assert size(Policy("x", "p", (), frozenset({IN}), (rule, Rule(IN)))) == Size(4 * (1 + 3) + 1, 3 + 1, 2)
    assert size(Policy("x", "p", (), frozenset({IN}), ())) == Size(0, 1)


def test_the_newest_policies_beyond_the_share_allow_nothing() -> None:
    """They restrict their pods all the same, and allow again once there is room."""
    budget = Budget(Size(10, 10, 10))
    old, new = policy("z", 6, created=1), policy("a", 6, created=2)
    assert budget.change({key("z"): old}) == {key("z"): old}
    found = budget.change({key("a"): new})[key("a")]
    assert found is not None
    assert (found.rules, found.directions) == ((), new.directions)
    assert budget.left_out == {"x": frozenset({key("a")})}
    assert budget.change({key("z"): None}) == {key("z"): None, key("a"): new}
    assert budget.left_out == {}


def test_a_policy_that_grows_takes_no_room_of_an_older_one() -> None:
    budget = Budget(Size(10, 10, 10))
    old, new = policy("old", 5, created=1), policy("new", 5, created=2)
    assert budget.change({key("old"): old, key("new"): new}) == {key("old"): old, key("new"): new}
    changed = budget.change({key("old"): policy("old", 6, created=1)})
    assert [(name, found.rules != ()) for (_, name), found in changed.items() if found is not None] == [
        ("old", True), ("new", False)
    ]  # fmt: skip


def test_another_namespace_has_a_share_of_its_own() -> None:
    budget = Budget(Size(10, 10, 10))
    other = policy("p", 9, namespace="y")
    changed = budget.change({key("p"): policy("p", 11), key("p", "y"): other})
    assert changed[key("p", "y")] == other
    assert budget.left_out == {"x": frozenset({key("p")})}


def test_sources_are_counted_too() -> None:
    """Also of policies without rules."""
    budget = Budget(Size(100, 2, 100))
    changed = budget.change({key(str(number)): policy(str(number), 1, created=number) for number in range(3)})
    assert [name for (_, name), found in changed.items() if found is not None and not found.rules] == ["2"]
    empty = Policy("x", "empty", (), frozenset({IN}), (), created=4)
    budget.change({key("empty"): empty})
    assert budget.left_out == {"x": frozenset({key("2"), key("empty")})}


def test_ranges_are_counted_too() -> None:
    """Blocks and their exceptions, once for each policy."""
    budget = Budget(Size(100, 100, 5))
    block = Block("10.0.0.0/8", ("10.1.0.0/16", "10.2.0.0/16"))
    policies = {
        key(name): Policy("x", name, (), frozenset({IN, OUT}), (Rule(IN, (block,)), Rule(OUT, (block,))), created)
        for created, name in enumerate(("old", "new"))
    }
    assert {size(policy) for policy in policies.values()} == {Size(2, 2, 3)}
    budget.change(dict(policies))
    assert budget.left_out == {"x": frozenset({key("new")})}


def test_the_age_of_a_policy_is_read() -> None:
    item = message("x", "p", {"podSelector": {}, "policyTypes": ["Ingress"]})
    item.metadata.creationTimestamp.seconds = 17
    assert reader.policy(item).created == 17
