"""Slots: which number each endpoint of a port has. Pure.

A chain chooses a number at random, and a map for each number has the endpoint of each port. An endpoint keeps its number
while it stays, so that a change of one endpoint changes few elements.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from nodeagent.network.services.model import Target

Slots = tuple[Target | None, ...]


def assign(before: Slots, targets: Sequence[Target], *, sticky: bool) -> Slots:
    """With `sticky`, every target keeps its slot, as the clients that it has are remembered by slot; one that is free in
    between stays so until a new target needs it. Else as many slots as targets."""
    wanted = set(targets)
    kept = [item if item in wanted else None for item in before]
    if not sticky:
        kept = kept[: len(targets)]
    placed = set(kept)
    new = iter([item for item in targets if item not in placed])
    filled = [item if item is not None else next(new, None) for item in kept]
    filled += new
    while filled and filled[-1] is None:
        filled.pop()
    return tuple(filled)


def bounded(before: Slots, targets: Sequence[Target], here: Collection[Target], most: int) -> Sequence[Target]:
    """So many targets: those that have a slot, so that one which is new takes the place of none; then those of this node."""
    if len(targets) <= most:
        return targets
    placed = set(before)
    return sorted(sorted(targets, key=lambda item: (item not in placed, item not in here, item))[:most])


def reused(before: Slots, after: Slots) -> set[int]:
    """Numbers of slots that a target has which another one, or none, had before: what is remembered of them is of another."""
    old = dict(enumerate(before))
    return {number for number, item in enumerate(after) if item is not None and old.get(number, item) != item}
