"""A build's context as a tar, in chunks of bounded size, without what `.dockerignore` names.

Links are packed as links, never followed: what they lead to is decided where the context is unpacked.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cli import dockerignore
from cli.dockerignore import Ignore, Matches
from pinnace.errors import BadRequest

CHUNK = 64 << 10
MAX_FILES = 500_000
MAX_BYTES = 4 << 30
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Entry:
    path: str
    source: str
    status: os.stat_result


def read_ignore(context: Path, dockerfile: Path) -> Ignore:
    """`DOCKERFILE.dockerignore` beside the Dockerfile wins over the context's. Raises BadRequest."""
    for path in (dockerfile.with_name(dockerfile.name + ".dockerignore"), context / ".dockerignore"):
        if path.is_file():
            return dockerignore.parse(path.read_text(errors="surrogateescape"), str(path))
    return Ignore()


def entries(context: Path, ignore: Ignore) -> Iterator[Entry]:
    """What is packed, folders before what they hold; a folder that is ignored comes with the first of it that is not."""
    yield from _below(str(context), "", ignore.top, ignore, [])


def _below(folder: str, path: str, above: Matches, ignore: Ignore, pending: list[Entry]) -> Iterator[Entry]:
    """`pending` are ignored folders on the way here, not yet packed."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise BadRequest(f"{folder}: {error.strerror}") from None
    for name in names:
        entry = Entry(f"{path}/{name}" if path else name, f"{folder}/{name}", os.lstat(f"{folder}/{name}"))
        matches = ignore.matches(entry.path, above)
        ignored, directory = ignore.ignored(matches), stat.S_ISDIR(entry.status.st_mode)
        if not ignored:
            yield from pending
            pending.clear()
            yield entry
        if directory and (not ignored or ignore.takes_back):
            waiting = [*pending, entry] if ignored else []
            before = len(waiting)
            yield from _below(entry.source, entry.path, matches, ignore, waiting)
            if before and not waiting:
                pending.clear()


def pack(context: Path, ignore: Ignore) -> Iterator[bytes]:
    """The tar. Raises BadRequest for what cannot be packed, and beyond the bounds."""
    count = total = 0
    for entry in entries(context, ignore):
        count, total = count + 1, total + entry.status.st_size
        if count > MAX_FILES or total > MAX_BYTES:
            raise BadRequest(
                f"the context {context} has more than {MAX_FILES} files or {MAX_BYTES >> 30} GiB: "
                "choose a smaller folder, or name what is not needed in .dockerignore"
            )
        if stat.S_ISSOCK(entry.status.st_mode):
            # As Docker does: a socket is a running program's, not a file.
            continue
        yield from _member(entry)
    yield bytes(2 * _BLOCK)


def _member(entry: Entry) -> Iterator[bytes]:
    member = tarfile.TarInfo(entry.path)
    member.mode, member.mtime = stat.S_IMODE(entry.status.st_mode), int(entry.status.st_mtime)
    if os.path.basename(entry.path).startswith(".wh."):
        raise BadRequest(f"{entry.path}: an image cannot hold a file whose name begins with .wh.")
    if stat.S_ISDIR(entry.status.st_mode):
        member.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(entry.status.st_mode):
        member.type, member.linkname = tarfile.SYMTYPE, os.readlink(entry.source)
    elif stat.S_ISREG(entry.status.st_mode):
        member.size = entry.status.st_size
    else:
        raise BadRequest(f"{entry.path}: a device or fifo, which a context cannot hold: name it in .dockerignore")
    yield member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    if member.size:
        yield from _content(entry, member.size)


def _content(entry: Entry, size: int) -> Iterator[bytes]:
    left = size
    try:
        with open(entry.source, "rb") as file:
            while left:
                chunk = file.read(min(CHUNK, left))
                if not chunk:
                    raise BadRequest(f"{entry.path}: the file became shorter while it was read")
                left -= len(chunk)
                yield chunk
    except OSError as error:
        raise BadRequest(f"{entry.path}: {error.strerror}") from None
    yield bytes(-size % _BLOCK)
