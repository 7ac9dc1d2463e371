"""Tar streams of a container's files: what `tarpack` and `tarunpack` have in common.

Both open everything relative to a folder that they hold open, and follow no link but in the path that was asked for,
whose links stay inside the root. Memory does not grow with the size or the number of files. /proc is never used: it is
the container's.
"""

from __future__ import annotations

import os
import tarfile

CHUNK = 64 << 10
# Folders in folders: each is a descriptor that is open meanwhile.
MAX_DEPTH = 200
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Refused(OSError):
    """Something that is not packed or unpacked; the text says why."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.strerror = text


def warm() -> None:
    """Have everything imported that the library would import on first use."""
    info = tarfile.TarInfo("é" * 200)
    info.size = 1 << 40
    info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
