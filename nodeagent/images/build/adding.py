"""ADD's archives: a local tar, plain or compressed, is opened into a folder of its own first, and copied from there.

So a hostile archive meets two fences: `unpack`, which lets nothing out of that folder, and `copying`, which lets nothing
out of the image.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nodeagent import trees
from nodeagent.images.build.errors import BuildError
from nodeagent.images.unpack import unpack
from nodeagent.runtime.native import syscalls
from pinnace.oci import BadImage

_BLOCK = 512


@contextmanager
def opened(root: int, path: str, scratch: Path, *, extract: bool) -> Iterator[int | None]:
    """A descriptor of the folder with an archive's content; None for what is no archive. Raises BuildError."""
    if not extract or not _is_archive(root, path):
        yield None
        return
    scratch.mkdir(parents=True, mode=0o755)
    try:
        with _reading(root, path) as stream:
            unpack(stream, str(scratch), f"archive {path}")
        folder = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield folder
        finally:
            os.close(folder)
    except (BadImage, EOFError, lzma.LZMAError) as error:
        raise BuildError(str(error)) from None
    finally:
        trees.remove(scratch)


def _is_archive(root: int, path: str) -> bool:
    try:
        with _reading(root, path) as stream:
            block = stream.read(_BLOCK)
            tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (OSError, EOFError, lzma.LZMAError, tarfile.HeaderError):
        return False
    return True


@contextmanager
def _reading(root: int, path: str) -> Iterator[IO[bytes]]:
    """The file, uncompressed when its first bytes say how. Raises IsADirectoryError for a folder."""
    with os.fdopen(syscalls.openat2(root, path or ".", os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("not a file")
        magic = file.read(6)
        file.seek(0)
        if magic.startswith(b"\x1f\x8b"):
            yield gzip.GzipFile(fileobj=file)  # type: ignore[misc]
        elif magic.startswith(b"BZh"):
            yield bz2.BZ2File(file)
        elif magic == b"\xfd7zXZ\x00":
            yield lzma.LZMAFile(file)
        else:
            yield file
