"""The digest of what a COPY takes from the context: names, kinds, modes, links and bytes; neither owners nor times."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator

from nodeagent.images.build.errors import BuildError
from nodeagent.runtime.native import syscalls

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
MAX_DEPTH = 200


def digest(root: int, paths: list[str]) -> str:
    """Of the `paths` below `root`, links at their ends followed. Raises BuildError, OSError."""
    hashed = hashlib.sha256()
    for path in paths:
        # The name counts, and so does whether it is a folder, whose content is copied and not itself.
        item = syscalls.openat2(root, path or ".", os.O_RDONLY | os.O_NONBLOCK)
        try:
            for line in _described(item, path, 0):
                hashed.update(line)
        finally:
            os.close(item)
    return hashed.hexdigest()


def _described(item: int, name: str, depth: int) -> Iterator[bytes]:
    if depth > MAX_DEPTH:
        raise BuildError(f"folders are nested deeper than {MAX_DEPTH}")
    status = os.fstat(item)
    yield _line(name, oct(status.st_mode), _file_digest(item) if stat.S_ISREG(status.st_mode) else "")
    if stat.S_ISDIR(status.st_mode):
        for below in sorted(os.listdir(item)):
            yield from _entry(item, f"{name}/{below}", below, depth)


def _entry(parent: int, name: str, last: str, depth: int) -> Iterator[bytes]:
    status = os.lstat(last, dir_fd=parent)
    if stat.S_ISLNK(status.st_mode):
        yield _line(name, "link", os.readlink(last, dir_fd=parent))
    elif stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
        item = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            yield from _described(item, name, depth + 1)
        finally:
            os.close(item)
    else:
        yield _line(name, oct(status.st_mode), "")


def _line(*fields: str) -> bytes:
    return b"\0".join(os.fsencode(field) for field in fields) + b"\0\n"


def _file_digest(item: int) -> str:
    with os.fdopen(os.dup(item), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
