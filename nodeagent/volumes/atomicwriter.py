"""Files that change all at once.

Files live in a folder named by time; `..data` is a symlink to it, and each file a symlink through `..data`. An update
writes a new folder and swaps `..data` by rename, so that a reader sees the old set or the new one, never a mixture.
Source: Kubernetes' atomic writer.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from nodeagent.volumes import ownership
from nodeagent.volumes.content import File


def write(folder: Path, files: dict[str, File], group: int | None = None, hidden: frozenset[str] = frozenset()) -> bool:
    """Make `folder` show exactly `files` (relative path to file); returns whether anything changed. Raises OSError.

    With `group`, all of it belongs to that group, which may read it. Names in `hidden` are left to others (`mountpoints`).
    """
    if group is not None:
        files = {name: File(file.content, file.mode | ownership.READ) for name, file in files.items()}
    if _read(folder) == files:
        return False
    fresh = Path(tempfile.mkdtemp(prefix="..", dir=folder))
    os.chmod(fresh, 0o755)
    for name, file in files.items():
        _write(fresh / name, file)
    if group is not None:
        # Before the swap: no reader sees a file before its group is set.
        ownership.give(fresh, group, read_only=True)
    old = _swap(folder, fresh.name)
    _show(folder, {name.split("/")[0] for name in files} - hidden)
    if old is not None:
        shutil.rmtree(folder / old, ignore_errors=True)
    return True


def read(folder: Path, name: str) -> bytes:
    """The file of this name that `folder` shows. Raises OSError."""
    return (folder / "..data" / name).read_bytes()


def _write(target: Path, file: File) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(file.content)
        os.fchmod(handle.fileno(), file.mode)


def _swap(folder: Path, fresh: str) -> str | None:
    """Point `..data` to the fresh folder; returns the one it pointed to."""
    data = folder / "..data"
    old = os.readlink(data) if data.is_symlink() else None
    temporary = folder / "..data_new"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(fresh)
    os.replace(temporary, data)
    return old


def _show(folder: Path, tops: set[str]) -> None:
    for name in tops:
        if not os.path.lexists(folder / name):
            (folder / name).symlink_to(f"..data/{name}")
    for entry in os.scandir(folder):
        # What is no symlink is a mount point.
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in tops:
            os.unlink(entry.path)


def _read(folder: Path) -> dict[str, File] | None:
    data = folder / "..data"
    if not data.is_symlink():
        return None
    base = folder / os.readlink(data)
    found = {}
    for path in base.rglob("*"):
        if path.is_file():
            found[str(path.relative_to(base))] = File(path.read_bytes(), path.stat().st_mode & 0o7777)
    return found
