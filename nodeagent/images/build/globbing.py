"""What the sources of a COPY name in a tree: paths and patterns, every one resolved inside the tree's root."""

from __future__ import annotations

import os
from collections.abc import Iterable

from nodeagent.images.build.errors import BuildError
from nodeagent.runtime.native import syscalls
from pinnace import pathpatterns

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


def find(root: int, patterns: Iterable[str], where: str) -> list[str]:
    """Paths below `root`, without a leading slash, that the patterns name; "" is the root itself.

    `where` names the tree in errors. Raises BuildError for a pattern that matches nothing or leads out.
    """
    found: list[str] = []
    for pattern in patterns:
        if ".." in pattern.split("/"):
            raise BuildError(f"{pattern[:200]!r}: a source must not contain '..': it would lead out of {where}")
        parts = [part for part in pattern.split("/") if part not in ("", ".")]
        try:
            matched = _glob(root, parts) if pathpatterns.has_magic(pattern) else _plain(root, parts)
        except pathpatterns.BadPattern as error:
            raise BuildError(str(error)) from None
        if not matched:
            raise BuildError(f"{pattern[:200]!r}: no such file in {where}")
        found += matched
    return found


def _plain(root: int, parts: list[str]) -> list[str]:
    path = "/".join(parts)
    try:
        os.close(syscalls.openat2(root, path or ".", syscalls.O_PATH))
    except OSError:
        return []
    return [path]


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
        found = following
    return sorted(found)


def _names(root: int, path: str) -> list[str]:
    try:
        folder = syscalls.openat2(root, path or ".", _DIRECTORY)
    except OSError:
        return []
    try:
        return os.listdir(folder)
    finally:
        os.close(folder)
