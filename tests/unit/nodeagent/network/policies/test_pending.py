"""The order in which changes of policies, groups and pods reach the kernel."""

from __future__ import annotations

from nodeagent.network.policies.model import IN, Block, Pod, Policy, Rule, Selection
from nodeagent.network.policies.pending import Pending

POD = Pod("small", {}, ("10.244.1.2",))


def policy(namespace: str, name: str, *peers: Block | Selection) -> Policy:
    return Policy(namespace, name, (), frozenset({IN}), (Rule(IN, peers),))


def put(pending: Pending, *policies: Policy) -> None:
    for item in policies:
        pending.set_policy((item.namespace, item.name), None, item)


def blocks(count: int) -> list[Block]:
    return [Block(f"10.0.{number}.0/24") for number in range(count)]


def test_a_namespace_with_many_policies_does_not_delay_one_with_few() -> None:
    pending = Pending(portion=10)
    put(pending, *(policy("large", f"p{number}", *blocks(4)) for number in range(6)), policy("small", "p", *blocks(1)))
    pending.set_pod("u1", POD)
    first = pending.take({})
    assert next(iter(first.policies)) == ("small", "p")
    assert (len(first.policies), first.pods) == (1 + 2, {"u1": POD})
    rest = [pending.take({}), pending.take({})]
    assert [len(found.policies) for found in rest] == [2, 2]
    assert not pending


def test_a_pod_waits_for_the_policies_of_its_own_namespace_alone() -> None:
    pending = Pending(portion=10)
    put(pending, policy("a", "p", *blocks(5)), policy("large", "p", *blocks(50)), policy("large", "q", *blocks(50)))
    assert list(pending.take({}, "large").policies) == [("large", "p")]
    assert pending.has_policies("large")
    assert list(pending.take({}, "large").policies) == [("large", "q")]
    assert not pending.has_policies("large")
    assert pending


def test_the_last_change_of_a_policy_counts() -> None:
    """Its size is that of the first and the last: those are what the kernel has and gets."""
    pending = Pending(portion=10)
    first, small = policy("x", "p", *blocks(9)), policy("x", "p", *blocks(1))
    pending.set_policy(("x", "p"), first, policy("x", "p", *blocks(50)))
    pending.set_policy(("x", "p"), policy("x", "p", *blocks(50)), small)
    put(pending, policy("y", "p", *blocks(4)), policy("z", "p", *blocks(14)))
    assert [list(pending.take({}).policies) for _ in range(2)] == [[("y", "p"), ("x", "p")], [("z", "p")]]


def test_each_peer_costs_as_much_as_there_are_pods() -> None:
    """Of its policy's namespace."""
    pending = Pending(portion=10)
    put(pending, *(policy(namespace, f"p{number}", *blocks(1)) for namespace in ("x", "y") for number in range(3)))
    pods = {"x": 4, "z": 100}
    assert [[key[0] for key in pending.take(pods).policies] for _ in range(2)] == [["y", "y", "y", "x"], ["x", "x"]]


def test_a_group_that_is_gone_waits_for_the_policies_that_name_it() -> None:
    """Else they would end connections that they allow, until their own change."""
    pending = Pending(portion=10)
    named = policy("x", "named", Selection("g"), *blocks(20))
    put(pending, policy("a", "p", *blocks(12)))
    pending.set_policy(("x", "named"), named, None)
    pending.set_slice("g.0", None)
    pending.set_slice("other.0", {})
    pending.set_slice("new.0", {"10.0.0.1": ()})
    first, second = pending.take({}), pending.take({})
    assert (dict(first.slices), dict(second.slices)) == ({"other.0": {}, "new.0": {"10.0.0.1": ()}}, {"g.0": None})
    assert list(second.policies) == [("x", "named")]
