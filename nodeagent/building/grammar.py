"""A Dockerfile's text to its statements: name, flags, arguments and here-documents of each instruction. Pure.

Written against BuildKit's tables of cases (frontend/dockerfile/parser/testfiles): lines are `lines`, words `words` and
`whitespace`, flags `flags`, here-documents `heredocs`. The text may be hostile: its length and the number of instructions
are bounded, and every step is linear.
"""

from __future__ import annotations

from dataclasses import dataclass

from nodeagent.building import flags, heredocs, jsonform, whitespace
from nodeagent.building.errors import BuildError
from nodeagent.building.heredocs import Heredoc
from nodeagent.building.lines import Lines

MAX_BYTES = 256 << 10
MAX_STATEMENTS = 1_000
_WITH_HEREDOCS = ("RUN", "COPY", "ADD")


@dataclass(frozen=True, slots=True)
class Statement:
    """`name` in capitals; `value` is what follows the flags, its continuation lines joined; `line` counts from 1; `source`
    is the whole logical line."""

    name: str
    value: str
    line: int
    source: str = ""
    flags: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()

    @property
    def text(self) -> str:
        """In one line, for output and for the image's history."""
        return " ".join([self.name, *whitespace.partition(self.source)[1].split()])


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """`notes` are for the user: what was read and has no effect."""

    statements: tuple[Statement, ...]
    escape: str = "\\"
    notes: tuple[str, ...] = ()


def parse(text: str) -> Dockerfile:
    """Raises BuildError."""
    if len(text) > MAX_BYTES:
        raise BuildError(f"the Dockerfile is larger than {MAX_BYTES >> 10} KiB")
    if "\0" in text:
        raise BuildError("the Dockerfile has a NUL character", text[: text.index("\0")].count("\n") + 1)
    lines = Lines(text)
    found: list[Statement] = []
    while (line := lines.next()) is not None:
        found.append(_statement(line.text, line.number, lines))
        if len(found) > MAX_STATEMENTS:
            raise BuildError(f"the Dockerfile has more than {MAX_STATEMENTS} instructions", line.number)
    if not found:
        raise BuildError("the Dockerfile has no instruction")
    return Dockerfile(tuple(found), lines.escape, tuple(lines.notes))


def _statement(source: str, number: int, lines: Lines) -> Statement:
    statement = split(source, number, lines.escape)
    inner = statement
    if statement.name == "ONBUILD" and statement.value:
        inner = split(statement.value, number, lines.escape)
    if inner.name not in _WITH_HEREDOCS or jsonform.is_list(inner.value):
        return statement
    documents = heredocs.read(source, lines, number)
    return Statement(statement.name, statement.value, number, statement.source, statement.flags, documents)


def split(source: str, number: int, escape: str) -> Statement:
    """One logical line to name, flags and arguments."""
    name, rest = whitespace.partition(whitespace.strip(source))
    given, value = flags.extract(rest, escape)
    return Statement(name.upper(), whitespace.strip(value), number, source, tuple(given))
