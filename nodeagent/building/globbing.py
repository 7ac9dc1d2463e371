"""Paths and patterns of a COPY's sources in a tree, resolved inside the tree's root."""

from __future__ import annotations

import os
import posixpath

from nodeagent.building.errors import BuildError
from nodeagent.linux import syscalls
from pinnace import pathpatterns

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
MAX_MATCHES = 100_000


def find(root: int, pattern: str, where: str) -> list[str]:
    """Paths below `root`, without a leading slash, that the pattern names; "" is the root itself.

    `where` names the tree in errors. Raises BuildError for a plain path that is not there and for one that leads out,
    BadPattern.
    """
    path = posixpath.normpath(pattern.lstrip("/") or ".")
    if path == ".." or path.startswith("../"):
        raise BuildError(f"{pattern[:200]!r}: a source must not lead out of {where} by '..'")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if pathpatterns.has_magic(path):
        return _glob(root, parts)
    if not _exists(root, "/".join(parts)):
        raise BuildError(f"{pattern[:200]!r}: no such file in {where}")
    return ["/".join(parts)]


def _exists(root: int, path: str) -> bool:
    try:
        os.close(syscalls.openat2(root, path or ".", syscalls.O_PATH))
    except OSError:
        return False
    return True


def _glob(root: int, parts: list[str]) -> list[str]:
    """Component by component, so that a pattern costs no walk of the whole tree."""
    found = [""]
    for part in parts:
        matcher = pathpatterns.translate(part)
        following = []
        for base in found:
            for name in _names(root, base):
                if matcher.fullmatch(name):
                    following.append(f"{base}/{name}" if base else name)
        if len(following) > MAX_MATCHES:
            raise BuildError(f"{'/'.join(parts)[:200]!r} matches more than {MAX_MATCHES} files")
        found = following
    return sorted(found)


def _names(root: int, path: str) -> list[str]:
    try:
        directory = syscalls.openat2(root, path or ".", _DIRECTORY)
    except OSError:
        return []
    try:
        return os.listdir(directory)
    finally:
        os.close(directory)
