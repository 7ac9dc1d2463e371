"""How much the files of a directory are, whatever is in it: without recursion and without following links."""

from __future__ import annotations

import os
from pathlib import Path


def size_of(directory: str | Path) -> int:
    """Bytes of the files below a directory; a file with several names counts once for each. Raises OSError."""
    total, waiting = 0, [str(directory)]
    # Not os.walk, which takes a call for each level: a layer may be deeper than that.
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total
