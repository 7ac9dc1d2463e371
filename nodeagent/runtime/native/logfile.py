"""A container's log: lines in the CRI format, rotated by size. Written by its monitor alone.

`<RFC 3339 time with nanoseconds> <stdout|stderr> <F|P> <text>`; P marks a part of a line that goes on.
Source: the CRI log format of Kubernetes.
"""

from __future__ import annotations

import os
import time

# A line longer than this is split into parts (containerd's default).
MAX_LINE = 16 << 10


class LogFile:
    def __init__(self, path: str, max_bytes: int, max_files: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._partial: dict[bytes, bytes] = {}
        self._open()

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._fd).st_size

    def write(self, stream: bytes, data: bytes) -> None:
        """Take bytes of a stream; whole lines are written at once, the rest waits."""
        lines = (self._partial.pop(stream, b"") + data).split(b"\n")
        rest = lines.pop()
        out = []
        for line in lines:
            out.append(self._format(stream, line, b"F"))
        while len(rest) > MAX_LINE:
            out.append(self._format(stream, rest[:MAX_LINE], b"P"))
            rest = rest[MAX_LINE:]
        if rest:
            self._partial[stream] = rest
        self._append(b"".join(out))

    def _format(self, stream: bytes, line: bytes, tag: bytes) -> bytes:
        parts = []
        while len(line) > MAX_LINE:
            parts.append(b"%s %s P %s\n" % (_now(), stream, line[:MAX_LINE]))
            line = line[MAX_LINE:]
        parts.append(b"%s %s %s %s\n" % (_now(), stream, tag, line))
        return b"".join(parts)

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._size += len(data)
        if self._size >= self._max_bytes:
            self._rotate()

    def _rotate(self) -> None:
        """The oldest goes; `x.log` becomes `x.log.1`. Readers follow by inode."""
        for number in range(self._max_files - 1, 0, -1):
            older = f"{self._path}.{number}"
            newer = f"{self._path}.{number - 1}" if number > 1 else self._path
            if os.path.exists(newer):
                os.replace(newer, older)
        os.close(self._fd)
        self._open()

    def close(self) -> None:
        """Write what waits without a newline, as a part: the program never ended the line."""
        for stream, rest in self._partial.items():
            if rest:
                self._append(self._format(stream, rest, b"P"))
        os.close(self._fd)


def _now() -> bytes:
    nanos = time.time_ns()
    moment = time.gmtime(nanos // 1_000_000_000)
    return b"%04d-%02d-%02dT%02d:%02d:%02d.%09dZ" % (*moment[:6], nanos % 1_000_000_000)
