"""Archives of ADD: a tar, plain or compressed, is unpacked into a directory of its own first, and copied from there.

So a hostile archive is confined three times: a process of bounded memory unpacks it (`images.unpacking`), which lets nothing
out of that directory, and `copying` lets nothing out of the image.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO

from nodeagent.building.errors import BuildError
from nodeagent.building.filesteps import Batch
from nodeagent.building.pieces import Piece
from nodeagent.images.store import ImageStore
from nodeagent.linux import syscalls
from nodeagent.node import threads
from pinnace.oci import BadImage, tarheader
from pinnace.oci.compression import decompressed

_BLOCK = 512


async def unpacked(stack: ExitStack, batches: Sequence[Batch], scratch: Path, images: ImageStore) -> list[Batch]:
    """The batches, in which every archive that is to be unpacked is a batch of its own, open until `stack` ends.

    `scratch` is made. Raises BuildError, OSError.
    """
    found: list[Batch] = []
    for batch in batches:
        if not batch.unpack:
            found.append(batch)
            continue
        for piece in batch.pieces:
            descriptor = await threads.builds.run(_opened, batch.root, piece)
            if descriptor < 0:
                found.append(replace(batch, pieces=[piece]))
                continue
            try:
                found.append(await _unpack(stack, descriptor, piece, scratch / str(len(found)), images))
            finally:
                os.close(descriptor)
    return found


async def _unpack(stack: ExitStack, descriptor: int, piece: Piece, directory: Path, images: ImageStore) -> Batch:
    directory.mkdir(parents=True, mode=0o755)
    try:
        await images.unpack_archive(Path(f"/proc/self/fd/{descriptor}"), directory, f"archive {piece.path}")
    except BadImage as error:
        raise BuildError(str(error)) from None
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, root)
    return Batch(root, [Piece("")], foreign=False, unpack=False, archive=True)


def _opened(root: int, piece: Piece) -> int:
    """A descriptor of the piece if it is an archive, else -1."""
    try:
        descriptor = syscalls.openat2(root, piece.path or ".", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        # Copying it says why.
        return -1
    if is_archive(descriptor):
        return descriptor
    os.close(descriptor)
    return -1


def is_archive(descriptor: int) -> bool:
    """Whether a file is a tar, plain or compressed, by its first header."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        try:
            block = _block(file)
            tarheader.parse(block.ljust(_BLOCK, b"\0"), 0)
        except (BadImage, OSError):
            return False
    return len(block) == _BLOCK


def _block(file: IO[bytes]) -> bytes:
    stream = decompressed(file)
    block = b""
    while len(block) < _BLOCK and (data := stream.read(_BLOCK - len(block))):
        block += data
    return block
