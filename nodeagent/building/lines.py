"""A Dockerfile's physical lines to logical ones: directives, comments and continuations. Pure.

Source: BuildKit, frontend/dockerfile/parser. A comment line inside a continued instruction is dropped, and so is an empty
one, with a note; white space may follow the escape character at the end of a line; white space at the begin of a
continuation line is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from nodeagent.building.errors import BuildError
from nodeagent.building.whitespace import SPACES

_DIRECTIVE = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*(.+?)[\t\n\f\r ]*")
_DIRECTIVES = ("syntax", "escape", "check")
_ESCAPES = ("\\", "`")


@dataclass(frozen=True, slots=True)
class LogicalLine:
    """`number` counts physical lines from 1: the first of it."""

    text: str
    number: int


class Lines:
    """The lines of one Dockerfile, read from the top; `escape` and `notes` are final once all have been read."""

    def __init__(self, text: str) -> None:
        self._lines = text.removeprefix("\ufeff").split("\n")
        if self._lines[-1] == "":
            self._lines.pop()
        self._at = 0
        self._directives: set[str] | None = set()
        self.escape = "\\"
        self.notes: list[str] = []

    def next(self) -> LogicalLine | None:
        """The next instruction's line; None at the end. Raises BuildError for an invalid directive."""
        while self._at < len(self._lines):
            number = self._at + 1
            line = self._take().lstrip(SPACES)
            self._read_directive(line, number)
            if line.startswith("#"):
                continue
            text, complete = self._without_escape(line)
            if complete and not text:
                continue
            return LogicalLine(text if complete else text + self._continuation(number), number)
        return None

    def heredoc(self, ends: Callable[[str], bool]) -> str | None:
        """The lines up to the one that `ends` it, each as it is; None when there is no such line."""
        out: list[str] = []
        while self._at < len(self._lines):
            line = self._lines[self._at]
            self._at += 1
            if ends(line.rstrip("\r")):
                return "".join(out)
            out.append(f"{line}\n")
        return None

    def _take(self) -> str:
        line = self._lines[self._at].rstrip("\r")
        self._at += 1
        return line

    def _without_escape(self, line: str) -> tuple[str, bool]:
        """The line without its continuation mark, and whether it has none: an escape that is not itself escaped."""
        bare = line.rstrip(" \t")
        if bare.endswith(self.escape) and not bare.endswith(self.escape * 2):
            return bare[:-1], False
        return line, True

    def _continuation(self, number: int) -> str:
        """The rest of the instruction that begins on line `number`."""
        out: list[str] = []
        empty, complete = False, False
        while not complete and self._at < len(self._lines):
            line = self._take()
            # A directive here would be none: this line ends them.
            self._directives = None
            if line.lstrip(SPACES).startswith("#"):
                continue
            if not line.strip(SPACES):
                empty = True
                continue
            text, complete = self._without_escape(line)
            out.append(text)
        if empty:
            self.notes.append(f"line {number}: an empty line within the instruction is passed over")
        return "".join(out)

    def _read_directive(self, line: str, number: int) -> None:
        """Directives end at the first line that is none."""
        if self._directives is None:
            return
        match = _DIRECTIVE.fullmatch(line[1:].lstrip(SPACES)) if line.startswith("#") else None
        name = match[1].lower() if match else ""
        if match is None or name not in _DIRECTIVES:
            self._directives = None
            return
        if name in self._directives:
            raise BuildError(f"the directive `# {name}=` is given twice", number)
        self._directives.add(name)
        value = match[2]
        if name != "escape":
            self.notes.append(f"line {number}: the directive `# {name}={value[:60]}` is ignored: the grammar is built in")
        elif value in _ESCAPES:
            self.escape = value
        else:
            raise BuildError(f"invalid escape character {value[:20]!r}: it is \\ or `", number)
