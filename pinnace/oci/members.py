"""The files of an archive by name, from a tar or a folder; only those that image formats use are remembered.

So a root filesystem of half a million files costs no memory, and a member is read without those before it.
"""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import IO, Protocol

from pinnace.oci import BadImage

# The formats have a few files for each layer; an archive with more is none of theirs.
MAX_MEMBERS = 10_000
_DOCUMENTS = (".json", "oci-layout", "layer.tar")


class Members(Protocol):
    def __contains__(self, name: str) -> bool: ...

    def size(self, name: str) -> int:
        """Bytes of a member that is there."""

    def open(self, name: str) -> IO[bytes]:
        """A seekable reader of a member that is there."""


class Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __contains__(self, name: str) -> bool:
        return ".." not in name.split("/") and not name.startswith("/") and (self._path / name).is_file()

    def size(self, name: str) -> int:
        return (self._path / name).stat().st_size

    def open(self, name: str) -> IO[bytes]:
        return open(self._path / name, "rb")


class Tar:
    """Of an uncompressed tar. Raises tarfile.TarError, BadImage."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._found: dict[str, tuple[int, int]] = {}
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                # tarfile keeps every member it has seen.
                tar.members = []  # type: ignore[attr-defined]
                self._note(member)

    def _note(self, member: tarfile.TarInfo) -> None:
        name = member.name.removeprefix("./")
        wanted = (
            name.startswith("blobs/sha256/")
            or name.endswith(_DOCUMENTS)
            or ("/" not in name and name.endswith((".tar", ".tar.gz")))
        )
        if not wanted or not member.isreg() or member.issparse():
            return
        if len(self._found) >= MAX_MEMBERS and name not in self._found:
            if "manifest.json" in self._found or "oci-layout" in self._found:
                raise BadImage(f"the archive has more than {MAX_MEMBERS} members")
            return
        self._found[name] = (member.offset_data, member.size)

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def size(self, name: str) -> int:
        return self._found[name][1]

    def open(self, name: str) -> IO[bytes]:
        offset, size = self._found[name]
        return io.BufferedReader(_Slice(self._file.fileno(), offset, size), 1 << 16)


class _Slice(io.RawIOBase):
    """A part of a file with a position of its own, so that members can be read side by side."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor, self._offset, self._size = descriptor, offset, size
        self._at = 0

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
