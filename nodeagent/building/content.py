"""The digest of what a COPY takes from the context: names, kinds, modes, links and bytes; neither owners nor times."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator

from nodeagent.building.errors import BuildError
from nodeagent.building.pieces import Piece
from nodeagent.building.selection import Selection, Verdict
from nodeagent.linux import syscalls

MAX_DEPTH = 200


def digest(root: int, pieces: Iterable[Piece]) -> str:
    """Of the `pieces` below `root`, symlinks at their ends followed. Raises BuildError, OSError."""
    hashed = hashlib.sha256()
    for piece in pieces:
        # The name counts, and so does whether it is a directory, whose content is copied and not itself.
        item = syscalls.openat2(root, piece.path or ".", os.O_RDONLY | os.O_NONBLOCK)
        try:
            for line in _Described(piece.selection).item(item, piece.path, "", piece.selection.top, 0):
                hashed.update(line)
        finally:
            os.close(item)
    return hashed.hexdigest()


class _Described:
    """Lines that say what is copied, of one piece; `path` is relative to it."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection

    def item(self, item: int, name: str, path: str, verdict: Verdict, depth: int) -> Iterator[bytes]:
        if depth > MAX_DEPTH:
            raise BuildError(f"directories are nested deeper than {MAX_DEPTH}")
        status = os.fstat(item)
        directory = stat.S_ISDIR(status.st_mode)
        if verdict.taken or not directory:
            yield _line(name, oct(status.st_mode), _file_digest(item) if stat.S_ISREG(status.st_mode) else "")
        if directory:
            for below in sorted(os.listdir(item)):
                inner = f"{path}/{below}" if path else below
                yield from self._entry(item, f"{name}/{below}", below, inner, self._selection.verdict(inner, verdict), depth)

    def _entry(self, parent: int, name: str, last: str, path: str, verdict: Verdict, depth: int) -> Iterator[bytes]:
        status = os.lstat(last, dir_fd=parent)
        directory = stat.S_ISDIR(status.st_mode)
        if not verdict.taken and not (directory and verdict.searched):
            return
        if stat.S_ISLNK(status.st_mode):
            yield _line(name, "link", os.readlink(last, dir_fd=parent))
        elif directory or stat.S_ISREG(status.st_mode):
            item = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                yield from self.item(item, name, path, verdict, depth + 1)
            finally:
                os.close(item)
        else:
            yield _line(name, oct(status.st_mode), "")


def _line(*fields: str) -> bytes:
    return b"\0".join(os.fsencode(field) for field in fields) + b"\0\n"


def _file_digest(item: int) -> str:
    with os.fdopen(os.dup(item), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
