"""The files of an archive by name, from a tar or a directory; names are normalised, and links to other files followed.

Image formats have a few files for each layer. A tar of more is a root file system, of which only those are remembered that
could be of an image: half a million files cost no memory, and a member is read without those before it.
"""

from __future__ import annotations

import io
import os
import posixpath
from pathlib import Path
from typing import IO, Protocol

from pinnace.oci import BadImage
from pinnace.oci.tar import Reader
from pinnace.oci.tarheader import LINK, REGULAR, SYMLINK, Member

MAX_MEMBERS = 10_000
# Links to links, as `docker save` makes for layers that are alike.
MAX_LINKS = 8
_DOCUMENTS = (".json", "oci-layout", "layer.tar", "repositories")


class Members(Protocol):
    def __contains__(self, name: str) -> bool: ...

    def size(self, name: str) -> int:
        """Bytes of a member that is there."""

    def open(self, name: str) -> IO[bytes]:
        """A seekable reader of a member that is there."""


class Folder:
    def __init__(self, path: Path) -> None:
        self._path = path.resolve()

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def _find(self, name: str) -> Path | None:
        """The file, links followed as long as they stay inside."""
        clean = normalised(name)
        if clean is None or "\0" in clean:
            return None
        try:
            found = (self._path / clean).resolve()
        except (OSError, RuntimeError):
            return None
        return found if found.is_relative_to(self._path) and found.is_file() else None

    def _path_of(self, name: str) -> Path:
        found = self._find(name)
        if found is None:
            raise BadImage(f"{name[:200]} is missing in the archive")
        return found

    def size(self, name: str) -> int:
        return self._path_of(name).stat().st_size

    def open(self, name: str) -> IO[bytes]:
        return open(self._path_of(name), "rb")


class Tar:
    """Of an uncompressed tar. Raises BadImage."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        # Offset and size of each file, and where each link leads; the last of a name counts.
        self._files: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        if not file.seek(0, os.SEEK_END):
            raise BadImage("it is empty")
        reader = Reader(file, seekable=True)
        while (member := reader.next()) is not None:
            self._note(member)

    def _note(self, member: Member) -> None:
        name = normalised(member.name)
        if not name or member.kind not in (REGULAR, LINK, SYMLINK):
            return
        if len(self._files) + len(self._links) >= MAX_MEMBERS and not self._has_room(name):
            return
        self._files.pop(name, None)
        self._links.pop(name, None)
        if member.kind == REGULAR and member.sparse is None:
            self._files[name] = member.offset, member.size
        elif member.kind == LINK:
            self._links[name] = normalised(member.link) or ""
        elif member.kind == SYMLINK:
            target = member.link if member.link.startswith("/") else posixpath.join(posixpath.dirname(name), member.link)
            self._links[name] = normalised(target) or ""

    def _has_room(self, name: str) -> bool:
        """Whether to remember one more of a tar that has as many as an image may."""
        if name in self._files or name in self._links:
            return True
        if "manifest.json" in self._files or "oci-layout" in self._files:
            raise BadImage(f"the archive has more than {MAX_MEMBERS} members")
        # A root file system's own are of no use; an image's may come at the end.
        for known in [known for known in (*self._files, *self._links) if not _of_image(known)]:
            self._files.pop(known, None)
            self._links.pop(known, None)
        if len(self._files) + len(self._links) >= MAX_MEMBERS:
            return name in ("manifest.json", "oci-layout")
        return _of_image(name)

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def _find(self, name: str) -> tuple[int, int] | None:
        """A file's place, links followed."""
        found = normalised(name)
        for _ in range(MAX_LINKS):
            if not found:
                return None
            if found in self._files:
                return self._files[found]
            found = self._links.get(found)
        return None

    def _place(self, name: str) -> tuple[int, int]:
        found = self._find(name)
        if found is None:
            raise BadImage(f"{name[:200]} is missing in the archive")
        return found

    def size(self, name: str) -> int:
        return self._place(name)[1]

    def open(self, name: str) -> IO[bytes]:
        offset, size = self._place(name)
        return io.BufferedReader(Slice(self._file.fileno(), offset, size), 1 << 16)


def normalised(name: str) -> str | None:
    """A member's name without `./`, doubled or leading slashes; None for one that leads out of the archive."""
    clean = posixpath.normpath("/" + name).lstrip("/")
    parts = 0
    for part in name.split("/"):
        parts += -1 if part == ".." else 1 if part not in ("", ".") else 0
        if parts < 0:
            return None
    return clean


def _of_image(name: str) -> bool:
    return (
        name.startswith("blobs/sha256/")
        or name.endswith(_DOCUMENTS)
        or ("/" not in name and (name.endswith((".tar", ".tar.gz")) or name.startswith("sha256:")))
    )  # fmt: skip


class Slice(io.RawIOBase):
    """A part of a file with a position of its own, so that members can be read side by side."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor, self._offset, self._size = descriptor, offset, size
        self._at = 0

    @property
    def extent(self) -> tuple[int, int, int]:
        """The file's descriptor, and the offset and size of the part."""
        return self._descriptor, self._offset, self._size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = min(max(base + offset, 0), self._size)
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._size - self._at)
        data = os.pread(self._descriptor, wanted, self._offset + self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
