"""Which namespaces keep their blocks (ipBlocks of NetworkPolicies) on a node that cannot afford all of them. Pure.

The node has one map of ranges of addresses, in which the blocks of all namespaces divide each other. What that costs grows with
the square of blocks that overlap, so `budget`, which bounds the blocks of one namespace, does not bound it. The blocks of
namespaces with the fewest are kept first: one with few blocks never loses any to one with many.

A block that several namespaces have costs once, and is kept for all of them if it is for one.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Set

from nodeagent.network.policies import blocks
from nodeagent.network.policies.blocks import Cost
from nodeagent.network.policies.model import Block

# Of all namespaces of the node: how many blocks the intervals name in all, at most (see `blocks.sizes`). Blocks and exceptions
# of any number of namespaces that have 500 of them together cost less, however they overlap; those that do not overlap cost one
# each.
MAX_NAMED = 500_000


def kept(by_namespace: Mapping[str, Set[Block]], most: int = MAX_NAMED) -> frozenset[Block]:
    """The blocks that the node can afford: of namespaces with the fewest, and of the first that does not fit those that its
    others divide least. Computed of all blocks, up to eight times if they do not fit."""
    every = _union(by_namespace.values())
    if blocks.all_affordable(every, most):
        return every
    counts = {namespace: sum(1 + len(block.excepts) for block in found) for namespace, found in by_namespace.items()}
    ordered = [by_namespace[name] for name in sorted(counts, key=lambda name: (counts[name], name))]
    fitting = bisect.bisect_left(
        range(1, len(ordered)), True, key=lambda end: not blocks.all_affordable(_union(ordered[:end]), most)
    )
    found = _union(ordered[:fitting])
    return found | _part(found, ordered[fitting], most)


def _part(before: frozenset[Block], more: Set[Block], most: int) -> set[Block]:
    """Those of `more` that fit."""
    found, cost = set[Block](), Cost(before)
    for block, _ in blocks.by_size(more):
        if block in before:
            continue
        cost.add(block)
        if cost.total > most:
            break
        found.add(block)
    return found


def _union(found: Iterable[Set[Block]]) -> frozenset[Block]:
    return frozenset[Block]().union(*found)
