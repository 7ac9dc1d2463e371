"""Columns of text as kubectl aligns them: cells end with a tab, and a column is as wide as its widest cell in adjacent lines.

Source: Go's text/tabwriter, with kubectl's settings (two spaces between columns).
"""

from __future__ import annotations

PADDING = 2


def align(lines: list[str]) -> list[str]:
    """The lines with spaces for tabs. A column continues as long as each line has a cell in it that a tab ends."""
    rows = [line.split("\t") for line in lines]
    for column in range(max(map(len, rows), default=1) - 1):
        start = 0
        while start < len(rows):
            end = start
            while end < len(rows) and len(rows[end]) > column + 1:
                end += 1
            _widen(rows[start:end], column)
            start = end + 1
    return ["".join(row) for row in rows]


def _widen(rows: list[list[str]], column: int) -> None:
    width = max((len(row[column]) for row in rows), default=0) + PADDING
    for row in rows:
        row[column] = row[column].ljust(width)
