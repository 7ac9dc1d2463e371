"""Which host ids a pod's user namespace maps to: one range of 65536 for each pod, shared by no two.

A pod's files and processes are of no other pod and of no user of the host, so that whoever breaks out is nobody. The
ranges lie where Kubernetes has them: multiples of 65536 from 65536 on, below 2^31. A pod's range is a file in its folder:
it is there again after a restart of the agent, and free once nothing of the pod is left on the node.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from nodeagent.runtime.interface import IdRange, StartError

SIZE = 65536
FILE = "ids"
_END = 1 << 31


def allocate(pods: Path, uid: str) -> IdRange:
    """The range of a pod, the same one each time; `pods` has a folder for each. Raises StartError, OSError.

    Synchronous: between the look and the write no other pod may be given the same."""
    mine = pods / uid / FILE
    found = _read(mine)
    if found is None:
        found = lowest_free({first for path in pods.glob(f"*/{FILE}") if (first := _read(path)) is not None})
        # On disk before it is used, and whole: an agent that starts again must not give it to another.
        temporary = mine.with_name(f".{FILE}")
        temporary.write_text(str(found))
        os.replace(temporary, mine)
    return IdRange(found, SIZE)


def lowest_free(taken: set[int]) -> int:
    """Raises StartError when there is none left."""
    for first in range(SIZE, _END, SIZE):
        if first not in taken:
            return first
    raise StartError("the node has no range of user ids left")


def _read(path: Path) -> int | None:
    with contextlib.suppress(FileNotFoundError, ValueError):
        first = int(path.read_text())
        if first % SIZE == 0 and SIZE <= first < _END:
            return first
    return None
