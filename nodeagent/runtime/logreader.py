"""A container's log, read back: tail, since, timestamps, and following across rotation and restarts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Any

from pinnace.clock import Clock

CHUNK = 32 << 10
# Seconds between looks at a file that is followed.
POLL = 0.1


def files(path: Path) -> list[Path]:
    """The log and what was rotated away, oldest first."""
    rotated = [p for p in path.parent.glob(f"{path.name}.*") if p.name.rpartition(".")[2].isdigit()]
    rotated.sort(key=lambda p: -int(p.name.rpartition(".")[2]))
    return [*rotated, *([path] if path.exists() else [])]


def start_of_tail(path: Path, lines: int) -> tuple[int, int]:
    """File index (into `files`) and offset at which the last `lines` lines begin."""
    listed = files(path)
    wanted = lines
    for index in range(len(listed) - 1, -1, -1):
        size = listed[index].stat().st_size
        with open(listed[index], "rb") as file:
            position = size
            while position > 0 and lines > 0:
                step = min(CHUNK, position)
                file.seek(position - step)
                block = file.read(step)
                if position == size and block.endswith(b"\n") and wanted >= 0:
                    newlines = [i for i, byte in enumerate(block[:-1]) if byte == 10]
                else:
                    newlines = [i for i, byte in enumerate(block) if byte == 10]
                if len(newlines) >= lines:
                    return index, position - step + newlines[-lines] + 1
                lines -= len(newlines)
                position -= step
            if lines > 0:
                lines -= 1
        if lines <= 0:
            return index, 0
    return 0, 0


def nanoseconds(stamp: bytes) -> int:
    """`2026-01-31T12:00:00.123456789Z` as nanoseconds since the epoch; 0 for what is no time."""
    text = stamp.decode("ascii", "replace")
    try:
        whole = int(datetime.fromisoformat(text[:19] + "+00:00").timestamp())
        return whole * 1_000_000_000 + int(text[20:29])
    except ValueError:
        return 0


class Formatter:
    """CRI lines to what people see; remembers nothing but partial lines."""

    def __init__(self, options: Any) -> None:
        self._since = options.sinceNanos
        self._timestamps = options.timestamps
        self._stream = options.stream.encode()
        self._begun = True

    def format(self, line: bytes) -> bytes:
        stamp, _, rest = line.partition(b" ")
        stream, _, rest = rest.partition(b" ")
        tag, _, text = rest.partition(b" ")
        if self._stream and stream != self._stream:
            return b""
        if self._since and nanoseconds(stamp) < self._since:
            return b""
        prefix = stamp + b" " if self._timestamps and self._begun else b""
        self._begun = tag == b"F"
        return prefix + text + (b"\n" if tag == b"F" else b"")


async def read(path: Path, options: Any, clock: Clock, ended: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Chunks of formatted log. With `follow`, until `ended()` and all is read."""
    formatter = Formatter(options)
    tail = options.tailLines if options.HasField("tailLines") else None
    opened = _opened(path, tail)
    left = options.limitBytes or None
    async with aclosing(_lines(path, opened, clock, ended, follow=options.follow)) as lists:
        async for lines in lists:
            chunk = b"".join(formatter.format(line) for line in lines)
            if left is not None:
                chunk = chunk[:left]
                left -= len(chunk)
            if chunk:
                yield chunk
            if left == 0:
                return


async def _lines(
    path: Path, opened: list[Any], clock: Clock, ended: Callable[[], bool], *, follow: bool
) -> AsyncGenerator[list[bytes], None]:
    """Whole lines, in lists. Files are held open while read, so that a rotation in between loses nothing."""
    current: Any = None
    try:
        partial = b""
        while True:
            if current is None:
                current = opened.pop(0) if opened else None
            if current is None:
                if not follow or ended():
                    return
                await clock.sleep(POLL)
                opened = _opened(path)
                continue
            # Before the read: what was written until then is all there will ever be in this file.
            last_look, rotated = ended(), bool(opened) or (follow and _rotated(path, current))
            data = current.read(CHUNK)
            if data:
                lines = (partial + data).split(b"\n")
                partial = lines.pop()
                yield lines
            elif rotated:
                opened = opened or _after(path, current)
                current.close()
                current = None
            elif not follow or last_look:
                current.close()
                return
            else:
                await clock.sleep(POLL)
    finally:
        for file in (*opened, *([current] if current is not None else [])):
            file.close()


def _opened(path: Path, tail: int | None = None) -> list[Any]:
    """The log and what was rotated away, open, oldest first, from where the last `tail` lines begin.

    Looked at again when a rotation came in between: names move from file to file."""
    while True:
        opened: list[Any] = []
        listed = files(path)
        before = [_inode(item) for item in listed]
        with contextlib.suppress(FileNotFoundError):
            index, offset = start_of_tail(path, tail) if tail else (0, 0)
            opened += [open(item, "rb") for item in listed]
            if before == [os.fstat(file.fileno()).st_ino for file in opened] and before == [*map(_inode, files(path))]:
                if tail == 0 and opened:
                    index, offset = len(opened) - 1, os.fstat(opened[-1].fileno()).st_size
                for file in opened[:index]:
                    file.close()
                for file in opened[index : index + 1]:
                    file.seek(offset)
                return opened[index:]
        for file in opened:
            file.close()


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _rotated(path: Path, current: Any) -> bool:
    inode = _inode(path)
    return inode not in (0, os.fstat(current.fileno()).st_ino)


def _after(path: Path, current: Any) -> list[Any]:
    """The files that came after the one being read, oldest first."""
    mine = os.fstat(current.fileno()).st_ino
    opened = _opened(path)
    position = next((i for i, file in enumerate(opened) if os.fstat(file.fileno()).st_ino == mine), -1)
    for file in opened[: position + 1]:
        file.close()
    return opened[position + 1 :]
