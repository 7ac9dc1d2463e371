"""Lines of several containers on one output."""

from __future__ import annotations

import io

import pytest

from cli.loglines import MAX_PIECE, Printer, Source, Splitter

STAMP = b"2026-01-31T12:00:00.123456789Z "


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_lines_are_whole_however_they_arrive(size: int) -> None:
    """Cut anywhere, empty lines too, and what comes after the last newline at the end."""
    data = b"one\n\nthree and more\nrest"
    splitter = Splitter()
    pieces = [piece for start in range(0, len(data), size) for piece in splitter.feed(data[start : start + size])]
    assert pieces == [b"one\n", b"\n", b"three and more\n"]
    assert list(splitter.finish()) == [b"rest"]


def test_an_endless_line_is_shown_in_parts() -> None:
    """What is kept is bounded, and nothing is lost."""
    splitter = Splitter(stamped=True, shown=False)
    pieces = list(splitter.feed(STAMP + b"x" * (3 * MAX_PIECE)))
    pieces += splitter.feed(b"\n" + STAMP + b"next\n")
    assert b"".join(pieces) == b"x" * (3 * MAX_PIECE) + b"\nnext\n"


def test_times_are_taken_off_and_remembered() -> None:
    """The last one says where to go on; a line that was cut is forgotten."""
    splitter = Splitter(stamped=True, shown=False)
    assert splitter.nanos == 0
    assert list(splitter.feed(STAMP + b"a b\n" + STAMP[:20])) == [b"a b\n"]
    assert splitter.nanos == 1769860800_123456789
    splitter.forget()
    assert list(splitter.feed(STAMP + b"again\n")) == [b"again\n"]
    shown = Splitter(stamped=True, shown=True)
    assert list(shown.feed(STAMP + b"a\n")) == [STAMP + b"a\n"]


def test_prefix_stands_before_each_line() -> None:
    """A part between others' lines is a line of its own; colours are by pod."""
    out = io.BytesIO()
    printer = Printer(prefix=True, out=out, colours=False)
    printer.write(Source("default", "web", "main"), [b"a\n", b"part"])
    printer.write(Source("default", "db", "main"), [b"b\n"])
    assert out.getvalue() == b"[pod/web/main] a\n[pod/web/main] part\n[pod/db/main] b\n"
    out = io.BytesIO()
    coloured = Printer(prefix=True, out=out, colours=True)
    for pod in ("web", "db", "web"):
        coloured.write(Source("default", pod, "main"), [b"x\n"])
    lines = out.getvalue().splitlines()
    assert lines[0] == lines[2]
    assert lines[0][:5] != lines[1][:5]
    assert lines[0] == b"\x1b[36m[pod/web/main] \x1b[0mx"
