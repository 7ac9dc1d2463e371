"""The blocks that namespaces keep on a node that cannot afford all of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nodeagent.network.policies.blocks import intervals
from nodeagent.network.policies.model import Block
from nodeagent.network.policies.shares import kept
from tests.unit.nodeagent.network.policies.test_blocks import some_blocks

Namespaces = dict[str, frozenset[Block]]


def namespaces() -> st.SearchStrategy[Namespaces]:
    return st.dictionaries(st.sampled_from("abcd"), st.frozensets(some_blocks(), max_size=5))


def size(blocks: frozenset[Block]) -> int:
    return sum(1 + len(block.excepts) for block in blocks)


@given(namespaces(), st.frozensets(some_blocks(), max_size=8), st.integers(0, 60))
def test_a_namespace_with_many_blocks_takes_none_of_those_with_fewer(
    found: Namespaces, many: frozenset[Block], most: int
) -> None:
    alone = {name: blocks for name, blocks in found.items() if size(blocks) < size(many)}
    assert kept(alone, most) <= kept({**alone, "many": many}, most)


@given(namespaces(), st.integers(0, 60))
def test_those_that_are_kept_are_affordable(found: Namespaces, most: int) -> None:
    blocks = kept(found, most)
    assert blocks <= frozenset[Block]().union(*found.values())
    assert sum(len(item.blocks) for item in intervals(blocks, 4)) <= most


def test_a_namespace_keeps_those_of_its_blocks_that_cost_least() -> None:
    """It does not lose all of them for a few that divide each other."""
    small = frozenset(Block(f"192.0.2.{number}/32") for number in range(0, 250, 2))
    wide = frozenset(Block("0.0.0.0/0", (f"10.{number}.0.0/16",)) for number in range(50))
    found = kept({"a": small | wide}, 1_000)
    assert small <= found < small | wide


def test_a_block_of_two_namespaces_costs_once() -> None:
    """It is kept for the one with more blocks too."""
    wide, others = Block("0.0.0.0/0", ("10.0.0.0/8",)), frozenset(Block(f"9.0.{number}.0/24") for number in range(0, 50, 2))
    assert kept({"few": frozenset({wide}), "many": frozenset({wide}) | others}, 4) == {wide}
