"""A build's context as a tar, in chunks of bounded size, without what `.dockerignore` names.

Symlinks are packed as symlinks, never followed: their targets are resolved where the context is unpacked. Hard links
within the context stay hard links.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cli import dockerignore
from pinnace.errors import BadRequest
from pinnace.pathfilters import Matches, PathFilter

CHUNK = 64 << 10
MAX_FILES = 500_000
MAX_BYTES = 4 << 30
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Entry:
    path: str
    source: str
    status: os.stat_result


def read_ignore(context: Path, dockerfile: Path | None) -> PathFilter:
    """`DOCKERFILE.dockerignore` next to the Dockerfile takes precedence over the context's. Raises BadRequest."""
    own = [dockerfile.with_name(dockerfile.name + ".dockerignore")] if dockerfile is not None else []
    for path in (*own, context / ".dockerignore"):
        if path.is_file():
            return dockerignore.parse(path.read_text(errors="surrogateescape"), str(path))
    return PathFilter()


def entries(context: Path, ignore: PathFilter) -> Iterator[Entry]:
    """What is packed, directories before their entries; one that is ignored comes with its first entry that is not."""
    yield from _below(str(context), "", ignore.top, ignore, [])


def _below(directory: str, path: str, above: Matches, ignore: PathFilter, pending: list[Entry]) -> Iterator[Entry]:
    """`pending` are ignored directories on the way here, not yet packed."""
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise BadRequest(f"{directory}: {error.strerror}") from None
    for name in names:
        entry = Entry(f"{path}/{name}" if path else name, f"{directory}/{name}", os.lstat(f"{directory}/{name}"))
        matches = ignore.matches(entry.path, above)
        ignored = ignore.selected(matches)
        if not ignored:
            yield from pending
            pending.clear()
            yield entry
        if stat.S_ISDIR(entry.status.st_mode) and (not ignored or ignore.has_exceptions):
            waiting = [*pending, entry] if ignored else []
            before = len(waiting)
            yield from _below(entry.source, entry.path, matches, ignore, waiting)
            if before and not waiting:
                pending.clear()


def pack(context: Path, ignore: PathFilter) -> Iterator[bytes]:
    """The tar. Raises BadRequest for what cannot be packed, and beyond the bounds."""
    count = total = 0
    links: dict[tuple[int, int], str] = {}
    for entry in entries(context, ignore):
        count, total = count + 1, total + entry.status.st_size
        if count > MAX_FILES or total > MAX_BYTES:
            raise BadRequest(
                f"the context {context} has more than {MAX_FILES} files or {MAX_BYTES >> 30} GiB: "
                "choose a smaller directory, or name what is not needed in .dockerignore"
            )
        if stat.S_ISSOCK(entry.status.st_mode):
            # As Docker does: a socket is a running process's, not a file.
            continue
        yield from _member(entry, _first_name(entry, links))
    yield bytes(2 * _BLOCK)


def empty() -> Iterator[bytes]:
    """The tar of a context without files."""
    yield bytes(2 * _BLOCK)


def _first_name(entry: Entry, links: dict[tuple[int, int], str]) -> str:
    """The path under which a file with several names is packed already; empty for none."""
    status = entry.status
    if not stat.S_ISREG(status.st_mode) or status.st_nlink < 2:
        return ""
    first = links.setdefault((status.st_dev, status.st_ino), entry.path)
    return first if first != entry.path else ""


def _member(entry: Entry, first: str) -> Iterator[bytes]:
    member = tarfile.TarInfo(entry.path)
    member.mode, member.mtime = stat.S_IMODE(entry.status.st_mode), int(entry.status.st_mtime)
    if os.path.basename(entry.path).startswith(".wh."):
        raise BadRequest(f"{entry.path}: an image cannot hold a file whose name begins with .wh.")
    if stat.S_ISDIR(entry.status.st_mode):
        member.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(entry.status.st_mode):
        member.type, member.linkname = tarfile.SYMTYPE, os.readlink(entry.source)
    elif first:
        member.type, member.linkname = tarfile.LNKTYPE, first
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
