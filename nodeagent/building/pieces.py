"""What COPY and ADD take from one tree: paths with what is selected below them, every one resolved inside the tree's root."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from nodeagent.building import globbing
from nodeagent.building.errors import BuildError
from nodeagent.building.instructions import Copy
from nodeagent.building.selection import ALL, Selection
from pinnace import pathpatterns
from pinnace.pathfilters import PathFilter
from pinnace.pathpatterns import BadPattern


@dataclass(frozen=True, slots=True)
class Piece:
    """`path` has no leading slash; empty is the root."""

    path: str
    selection: Selection = ALL


def find(root: int, item: Copy, paths: Iterable[str], where: str) -> list[Piece]:
    """The pieces that `paths` name; `where` names the tree in errors. Raises BuildError.

    As in BuildKit a pattern may match nothing, and a plain path must be there.
    """
    try:
        exclude = PathFilter.of(item.excludes)
        if item.parents:
            return [piece for path in paths for piece in _with_parents(root, path, exclude, where)]
        selection = Selection(exclude=exclude)
        return [Piece(found, selection) for path in paths for found in globbing.find(root, path, where)]
    except BadPattern as error:
        raise BuildError(f"--exclude or a source: {error}") from None


def _with_parents(root: int, path: str, exclude: PathFilter, where: str) -> list[Piece]:
    """--parents: directories of the path are made in the target, from the pivot point `/./` on if it has one."""
    parent, pivot, pattern = path.partition("/./")
    if not pivot:
        parent, pattern = "", path
    pattern = posixpath.normpath(f"/{pattern}").lstrip("/")
    selection = Selection(PathFilter.of([pattern]) if pattern else None, exclude)
    if not pathpatterns.has_magic(path):
        globbing.find(root, f"{parent}/{pattern}", where)
    return [Piece(found, selection) for found in globbing.find(root, parent, where)]
