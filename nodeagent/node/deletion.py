"""Deleting trees in turns: a container may leave millions of files, and no other deletion waits for them.

A turn is one call of a pool's thread, some tens of milliseconds. Between two, the thread is another's.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from nodeagent.linux import rmtree
from nodeagent.node.pools import Pool

# Entries that are deleted in one turn.
TURN = 1000


async def delete_tree(share: Pool, path: Path) -> None:
    """`rmtree.remove` in turns. Raises OSError; what could not be deleted is then left. Cancelling leaves the rest."""
    steps = rmtree.removing(path)
    while await share.run(_turn, steps):
        pass


def _turn(steps: Iterator[None]) -> bool:
    """Whether more may be left."""
    return any(True for _ in itertools.islice(steps, TURN - 1, TURN))
