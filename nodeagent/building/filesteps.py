"""The steps that write files: COPY and ADD, WORKDIR. Each leaves what it wrote in `upper` of the directory that it is given."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nodeagent.building import chmod, copying, sources, view
from nodeagent.building.errors import BuildError
from nodeagent.building.fileattributes import FileAttributes
from nodeagent.building.heredocs import Heredoc
from nodeagent.building.instructions import Copy, Workdir
from nodeagent.building.paths import absolute
from nodeagent.building.pieces import Piece
from nodeagent.building.state import State
from nodeagent.linux import rmtree


@dataclass(frozen=True, slots=True)
class Batch:
    """Pieces of one tree, whose root is the descriptor `root`. `foreign`: the owners of its files mean nothing here.
    `unpack`: archives among them are to be unpacked. `archive`: this is one that was, whose files have owners and modes of
    their own."""

    root: int
    pieces: Sequence[Piece]
    foreign: bool
    unpack: bool
    archive: bool = False


def copy(item: Copy, current: State, layers: tuple[str, ...], directory: Path, batches: Sequence[Batch]) -> None:
    """COPY or ADD of `batches`; `layers` are directories from the top down. Raises BuildError, OSError.

    With --link the layer is made apart from those below: no symlink of theirs is followed, and it suits any other base.
    """
    target = target_of(item, current)
    only = sum(len(batch.pieces) for batch in batches) == 1
    owner = _owner(item, layers, directory / "accounts")
    mode = chmod.parse(item.chmod) if item.chmod else None
    with view.merged(() if item.link else layers, directory) as root:
        for batch in batches:
            attributes = FileAttributes(owner or ((0, 0) if batch.foreign else None), None if batch.archive else mode)
            for piece in batch.pieces:
                copying.copy(root, target, batch.root, piece.path, attributes, selection=piece.selection, only=only)


def _owner(item: Copy, layers: tuple[str, ...], scratch: Path) -> tuple[int, int] | None:
    if not item.chown:
        return None
    try:
        with view.merged(layers, scratch) as root:
            return sources.owner(root, item.chown)
    finally:
        rmtree.remove(scratch)


def target_of(item: Copy, current: State) -> str:
    """The absolute path that is written to; a slash at its end says that it is a directory."""
    directory = item.target in ("", ".", "..") or item.target.endswith(("/", "/.", "/..")) or item.parents
    path = absolute(current.workdir, item.target)
    return path if path == "/" or not directory else f"{path}/"


@contextmanager
def documents(found: Sequence[Heredoc], scratch: Path) -> Iterator[Batch | None]:
    """Here-documents as a tree of their own, 0644; None for none of them. Raises OSError."""
    if not found:
        yield None
        return
    try:
        pieces = []
        for number, document in enumerate(found):
            # Two documents may have one name.
            path = scratch / str(number) / document.name
            path.parent.mkdir(parents=True, mode=0o755)
            path.write_bytes(document.text.encode())
            os.chmod(path, 0o644)
            # A time of no file: the layer is the same whenever it is made.
            os.utime(path, (0, 0))
            pieces.append(Piece(f"{number}/{document.name}"))
        root = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield Batch(root, pieces, foreign=True, unpack=False)
        finally:
            os.close(root)
    finally:
        rmtree.remove(scratch)


def workdir(item: Workdir, current: State, layers: tuple[str, ...], directory: Path) -> None:
    """The directory, made where it is missing, with USER as the owner of every part that is. Raises BuildError, OSError."""
    with view.merged(layers, directory) as root:
        os.close(copying.make_directory(root, item.path, FileAttributes(_workdir_owner(root, current.user))))


def _workdir_owner(root: int, user: str) -> tuple[int, int]:
    """Root for a user that the image does not have (yet), as in BuildKit: a RUN as that user fails by its name."""
    try:
        return sources.owner(root, user) if user else (0, 0)
    except BuildError:
        return 0, 0
