"""A container's termination message: a file that it may write, or the end of its log.

Source: kubelet's getTerminationMessage, readLastStringFromContainerLogs and normalizeStatus; sizes are its own.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

NAME = "termination-log"
# The last bytes of the file, and the first bytes of all messages in a pod's status, shared evenly.
MAX_BYTES = 4096
MAX_POD_BYTES = 12 << 10
# Of the log, where the policy falls back to it: its last lines, and of their text the last bytes.
MAX_LOG_LINES = 80
MAX_LOG_BYTES = 2048
# The end of a log file that has so much, with lines of 16 KiB and the times before them.
_LOG_END = 48 << 10


def make(bundle: Path) -> Path:
    """The file, writable for every user of the container. Raises OSError."""
    path = bundle / NAME
    path.touch(mode=0o666)
    os.chmod(path, 0o666)
    return path


def read(bundle: Path, log: Path, *, fall_back: bool) -> str:
    """The end of the file, or with `fall_back` and an empty file that of the log; empty when there is neither."""
    data = _end(bundle / NAME, MAX_BYTES)
    if not data and fall_back:
        data = _text(_end(log, _LOG_END))[-MAX_LOG_BYTES:]
    return data.decode(errors="replace")


def shortened(message: str, containers: int) -> str:
    """A message as the status of a pod with so many containers has it."""
    return message.encode()[: MAX_POD_BYTES // max(containers, 1)].decode(errors="ignore")


def _end(path: Path, limit: int) -> bytes:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
        return file.read(limit)
    return b""


def _text(log: bytes) -> bytes:
    """What a container printed, by the last lines of a log in the CRI format, of which the first may be cut."""
    lines = log.split(b"\n")[:-1]
    found = []
    for line in (lines[1:] if len(log) == _LOG_END else lines)[-MAX_LOG_LINES:]:
        fields = line.split(b" ", 3)
        if len(fields) == 4:
            # P: a part of a line, which continues in the next.
            found.append(fields[3] + (b"\n" if fields[2] == b"F" else b""))
    return b"".join(found)
