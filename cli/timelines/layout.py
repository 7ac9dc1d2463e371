"""Records as lines: on a terminal wrapped and coloured, else one line for each record, for grep and awk."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cli.timelines import words
from pinnace.api.v1.timeline_pb2 import TimelineRecord
from pinnace.fieldpaths import printable

_HEADER = ("TIME", "DELTA", "OBJECT", "WHO", "WHAT")
_WIDE = ("TIME", "DELTA", "REVISION", "OBJECT", "WHO", "VERB", "WHAT")
_GAP = "  "
# Columns that WHAT has at least; narrower terminals break lines themselves.
_LEAST = 40
_RESET, _DIM = "\x1b[0m", "\x1b[2m"
_COLOURS = {
    TimelineRecord.CREATED: "\x1b[32m", TimelineRecord.CHANGED: "\x1b[36m", TimelineRecord.DELETED: "\x1b[31m",
    TimelineRecord.GAP: "\x1b[35m",
}  # fmt: skip
_WARNING = "\x1b[33m"


@dataclass(slots=True)
class Layout:
    """`width`: of the terminal, 0 for none. It remembers the widths of columns and the time of the last record, so that
    records may come in several parts."""

    wide: bool = False
    width: int = 0
    colours: bool = False
    _widths: list[int] = field(default_factory=list)
    _last: int = 0
    _day: str = ""
    _headed: bool = False

    def lines(self, records: Sequence[Any]) -> list[str]:
        """Text of the records, under a header the first time."""
        rows = [self._cells(record) for record in records]
        header = _WIDE if self.wide else _HEADER
        known = self._widths or [len(title) for title in header]
        self._widths = [max(size, *(len(row[at]) for row in rows), 0) for at, size in enumerate(known[:-1])]
        out = [] if self._headed or not rows else [self._line(header)]
        self._headed = self._headed or bool(rows)
        for record, row in zip(records, rows, strict=True):
            out += self._row(record, row)
        return out

    def _cells(self, record: Any) -> list[str]:
        delta = _span(record.micros - self._last) if self._last else ""
        self._last = record.micros
        subject = f"{record.ref.kind.lower()}/{record.ref.name}" if record.ref.kind else "-"
        cells = [_clock(record.micros), delta, subject, words.who(record, wide=self.wide)]
        if self.wide:
            verb = f"{record.verb} {record.subresource}".strip()
            cells = [cells[0], delta, str(record.revision), subject, cells[3], verb or "-"]
        return [printable(cell) for cell in [*cells, ""]]

    def _row(self, record: Any, row: Sequence[str]) -> Iterable[str]:
        day = datetime.fromtimestamp(record.micros / 1e6).strftime("%Y-%m-%d")
        if day != self._day:
            self._day = day
            yield self._paint(_DIM, f"-- {day}")
        pieces = [printable(piece) for piece in words.what(record, wide=self.wide)]
        indent = sum(self._widths) + len(_GAP) * len(self._widths)
        texts = [", ".join(pieces)] if not self.width else filled(pieces, max(self.width - indent, _LEAST))
        colour = _colour(record)
        yield self._line(row[:-1]) + self._paint(colour, texts[0]) if self.colours else self._line([*row[:-1], texts[0]])
        for text in texts[1:]:
            yield " " * indent + self._paint(colour, text)

    def _line(self, cells: Sequence[str]) -> str:
        padded = [cell.ljust(size) + _GAP for cell, size in zip(cells, self._widths, strict=False)]
        return "".join([*padded, *cells[len(self._widths) :]])

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_RESET}" if self.colours and colour else text


def _colour(record: Any) -> str:
    if record.type == TimelineRecord.EVENT:
        return _WARNING if record.eventType != "Normal" else ""
    if record.type == TimelineRecord.ATTEMPT:
        return "" if record.node else _WARNING
    return _COLOURS.get(record.type, "")


def filled(pieces: Sequence[str], width: int) -> list[str]:
    """Pieces with commas between them, in lines of at most `width`; a longer piece is broken at spaces, or anywhere."""
    lines = [""]
    for at, piece in enumerate(pieces):
        text = piece + ("," if at < len(pieces) - 1 else "")
        if lines[-1] and len(lines[-1]) + 1 + len(text) <= width:
            lines[-1] += f" {text}"
            continue
        lines += textwrap.wrap(text, width, break_on_hyphens=False) or [text]
    return lines[1:] if len(lines) > 1 and not lines[0] else lines


def _clock(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1e6).strftime("%H:%M:%S.") + f"{micros // 1000 % 1000:03d}"


def _span(micros: int) -> str:
    """Since the record before: `+6ms`, `+1.2s`, `+3m20s`, `+2h5m`; nothing for less than a millisecond."""
    milliseconds = micros // 1000
    if milliseconds == 0:
        return ""
    sign, milliseconds = ("+", milliseconds) if milliseconds > 0 else ("-", -milliseconds)
    seconds = milliseconds / 1000
    if milliseconds < 1000:
        return f"{sign}{milliseconds}ms"
    if seconds < 60:
        return f"{sign}{seconds:.1f}s"
    if seconds < 3600:
        return f"{sign}{int(seconds) // 60}m{int(seconds) % 60}s"
    return f"{sign}{int(seconds) // 3600}h{int(seconds) % 3600 // 60}m"
