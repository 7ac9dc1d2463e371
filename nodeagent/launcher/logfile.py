"""A container's log: lines in the CRI format, rotated by size. Written by its monitor alone.

`<RFC 3339 time with nanoseconds> <stdout|stderr> <F|P> <text>`; P marks a line that continues.
Source: the CRI log format of Kubernetes.
"""

from __future__ import annotations

import os
import time

# A line longer than this is split into parts (containerd's default).
MAX_LINE = 16 << 10
# Bytes that are collected for one write; with their times, short lines are many times as long as they were.
BATCH = 64 << 10


class LogFile:
    """A disk that is full loses lines, never the container."""

    def __init__(self, path: str, max_bytes: int, max_files: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._partial: dict[bytes, bytes] = {}
        self._batch: list[bytes] = []
        self._waiting = 0
        self._second = (-1, b"")
        self._open()

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._fd).st_size

    def write(self, stream: bytes, data: bytes) -> None:
        """Take bytes of a stream; whole lines are written at once, the rest waits."""
        lines = (self._partial.pop(stream, b"") + data).split(b"\n")
        rest = lines.pop()
        for line in lines:
            self._line(stream, line, b"F")
        while len(rest) > MAX_LINE:
            self._put(stream, rest[:MAX_LINE], b"P")
            rest = rest[MAX_LINE:]
        if rest:
            self._partial[stream] = rest
        self._flush()

    def _line(self, stream: bytes, line: bytes, tag: bytes) -> None:
        while len(line) > MAX_LINE:
            self._put(stream, line[:MAX_LINE], b"P")
            line = line[MAX_LINE:]
        self._put(stream, line, tag)

    def _put(self, stream: bytes, text: bytes, tag: bytes) -> None:
        entry = b"%s %s %s %s\n" % (self._now(), stream, tag, text)
        self._batch.append(entry)
        self._waiting += len(entry)
        if self._waiting >= BATCH or self._size + self._waiting >= self._max_bytes:
            self._flush()

    def _flush(self) -> None:
        if not self._batch:
            return
        view = memoryview(b"".join(self._batch))
        self._size += len(view)
        self._batch, self._waiting = [], 0
        try:
            while view:
                view = view[os.write(self._fd, view) :]
            if self._size >= self._max_bytes:
                self._rotate()
        except OSError:
            return

    def _rotate(self) -> None:
        """The oldest goes; `x.log` becomes `x.log.1`. Readers follow by inode."""
        for number in range(self._max_files - 1, 0, -1):
            older = f"{self._path}.{number}"
            newer = f"{self._path}.{number - 1}" if number > 1 else self._path
            if os.path.exists(newer):
                os.replace(newer, older)
        before = self._fd
        self._open()
        os.close(before)

    def close(self) -> None:
        """Write what waits without a newline, as a part: the program never ended the line."""
        for stream, rest in self._partial.items():
            self._line(stream, rest, b"P")
        self._flush()
        os.close(self._fd)

    def _now(self) -> bytes:
        nanos = time.time_ns()
        second = nanos // 1_000_000_000
        if second != self._second[0]:
            self._second = second, b"%04d-%02d-%02dT%02d:%02d:%02d" % time.gmtime(second)[:6]
        return b"%s.%09dZ" % (self._second[1], nanos % 1_000_000_000)
