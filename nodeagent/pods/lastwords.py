"""A container's termination message: a file that it may write, or the end of its log.

Source: the behaviour of kubelet; sizes are its own.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

NAME = "termination-log"
MAX_BYTES = 4096
# Of the log, where the policy falls back to it.
MAX_LOG_BYTES = 2048
MAX_LOG_LINES = 80


def make(bundle: Path) -> Path:
    """The file, writable whoever the container runs as. Raises OSError."""
    path = bundle / NAME
    path.touch(mode=0o666)
    os.chmod(path, 0o666)
    return path


def read(bundle: Path, log: Path, *, fall_back: bool) -> str:
    """What the file says, or with `fall_back` the end of the log; empty when nothing was said."""
    with contextlib.suppress(OSError), open(bundle / NAME, "rb") as file:
        data = file.read(MAX_BYTES)
        if data:
            return data.decode(errors="replace")
    if fall_back:
        with contextlib.suppress(OSError), open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - MAX_LOG_BYTES))
            lines = file.read(MAX_LOG_BYTES).decode(errors="replace").splitlines()[-MAX_LOG_LINES:]
            # Without the time, the stream and the tag that begin each line of the log.
            return "\n".join(line.split(" ", 3)[-1] for line in lines)
    return ""
