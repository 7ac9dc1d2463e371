"""Lines of many containers on one output: whole, each from one container, with a prefix that says which."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

# Bytes of a line that are waited for; a longer one is shown in parts.
MAX_PIECE = 64 << 10
_COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)


@dataclass(frozen=True, slots=True)
class Source:
    """A container of a pod; `uid` tells pods of one name apart."""

    namespace: str
    pod: str
    container: str
    uid: str = ""

    @property
    def prefix(self) -> str:
        return f"[pod/{self.pod}/{self.container}] "


class Splitter:
    """A stream of bytes as lines. With `stamped` each begins with its time, which is taken off unless `shown`."""

    def __init__(self, *, stamped: bool = False, shown: bool = True) -> None:
        self._rest = b""
        self._stamped = stamped
        self._shown = shown
        self._at_start = True
        self._stamp = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Pieces that end with a newline, but for parts of an overlong line."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            yield self._piece(line + b"\n")
        while len(self._rest) > MAX_PIECE:
            piece, self._rest = self._rest[:MAX_PIECE], self._rest[MAX_PIECE:]
            yield self._piece(piece)

    def finish(self) -> Iterator[bytes]:
        """What came after the last newline."""
        if self._rest:
            yield self._piece(self._rest)
        self.forget()

    def forget(self) -> None:
        """The stream was cut: the line that had begun is sent again."""
        self._rest, self._at_start = b"", True

    def _piece(self, piece: bytes) -> bytes:
        began, self._at_start = self._at_start, piece.endswith(b"\n")
        if not self._stamped or not began:
            return piece
        self._stamp, _, text = piece.partition(b" ")
        return piece if self._shown else text

    @property
    def nanos(self) -> int:
        """The time of the last line, in nanoseconds since the epoch; 0 before there was one."""
        text = self._stamp.decode("ascii", "replace")
        try:
            whole = int(datetime.fromisoformat(text[:19] + "+00:00").timestamp())
            return whole * 1_000_000_000 + int(text[20:29])
        except ValueError:
            return 0


class Printer:
    """One output for all; a line is written at once."""

    def __init__(self, *, prefix: bool, out: BinaryIO | None = None, colours: bool | None = None) -> None:
        """`colours` for the prefix, by pod; by default on a terminal, unless NO_COLOR is set (no-color.org)."""
        self._out = out or sys.stdout.buffer
        self._prefix = prefix
        self._colours = colours if colours is not None else self._out.isatty() and not os.environ.get("NO_COLOR")
        self._by_pod: dict[str, int] = {}
        self._lock = threading.Lock()

    def write(self, source: Source, pieces: Iterable[bytes]) -> None:
        """Raises BrokenPipeError."""
        with self._lock:
            head = self._head(source) if self._prefix else b""
            # Between others' lines a part has to be a line of its own.
            ends = b"\n" if self._prefix else b""
            self._out.write(b"".join(head + piece + (b"" if piece.endswith(b"\n") else ends) for piece in pieces))
            self._out.flush()

    def _head(self, source: Source) -> bytes:
        if not self._colours:
            return source.prefix.encode()
        number = self._by_pod.setdefault(source.pod, len(self._by_pod))
        return f"\x1b[{_COLOURS[number % len(_COLOURS)]}m{source.prefix}\x1b[0m".encode()
