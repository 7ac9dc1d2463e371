"""The files of the assignment: written at once, synced later, read when the agent starts."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from pinnace import pki

log = logging.getLogger("pinnace.assignment")


class Disk:
    """Files written at once, and synced by a thread of their own: the event loop never waits for the disk.

    Killing the agent loses nothing; a power failure may lose the last moments, which the control plane sends again."""

    def __init__(self) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="assignment-sync")
        self._unsynced: list[Path] = []

    def write(self, path: Path, data: bytes, *, later: bool = False) -> None:
        """A full disk is logged: deletions must come in, or it stays full. `later`: by the thread, and not synced."""
        if later:
            self._submit(_write, path, data)
        elif _write(path, data):
            self._unsynced.append(path)

    def remove(self, path: Path, *, later: bool = False) -> None:
        """`later`: by the thread, after the writes that it has yet to do."""
        if later:
            self._submit(_remove, path)
        else:
            _remove(path)

    def _submit(self, fn: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):
            # RuntimeError: the agent is ending.
            self._pool.submit(fn, *arguments)

    def sync(self) -> None:
        if self._unsynced:
            paths, self._unsynced = self._unsynced, []
            self._submit(_sync, paths)

    def close(self) -> None:
        self._pool.shutdown()


def _write(path: Path, data: bytes) -> bool:
    """Whether the file is written."""
    try:
        pki.write_private(path, data, sync=False)
    except OSError as error:
        log.error("not_stored path=%s error=%s", path, error)
        return False
    return True


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.error("not_removed path=%s error=%s", path, error)


def _sync(paths: list[Path]) -> None:
    for path in {*paths, *(path.parent for path in paths)}:
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def stored(directory: Path) -> list[Path]:
    """The files of a directory, without the temporary ones of a killed agent (pki.write_private), which are removed."""
    pki.remove_torn(directory)
    return sorted(path for path in directory.iterdir() if not path.name.startswith("."))


def read(path: Path, cls: type[Any]) -> Any | None:
    try:
        return cls.FromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        log.error("not_restored path=%s error=%s", path, error)
        return None
