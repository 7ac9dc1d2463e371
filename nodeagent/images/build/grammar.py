"""A Dockerfile's text to its statements, by dockerfile-parse; what that library passes over in silence is caught here.

It knows lines, continuations, comments and the escape directive. It does not know here-documents (refused by name), ends
a continued statement at an empty line (Docker goes on), and drops a statement whose continuation the file cuts short.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from dockerfile_parse import DockerfileParser

from nodeagent.images.build import words
from nodeagent.images.build.errors import BuildError

MAX_BYTES = 256 << 10
MAX_STATEMENTS = 1_000
_DIRECTIVE = re.compile(r"^\s*#\s*(escape|syntax|check)\s*=\s*(.*?)\s*$", re.IGNORECASE)
_HEREDOC = re.compile(r"\d*<<-?[\"']?[A-Za-z_]")


@dataclass(frozen=True, slots=True)
class Statement:
    """`name` in capitals; `value` is the rest, its continuation lines joined; `line` counts from 1."""

    name: str
    value: str
    line: int

    @property
    def text(self) -> str:
        """In one line, for people and for the image's history."""
        return f"{self.name} {' '.join(self.value.split())}"


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """`notes` are for the person: what was read and has no effect."""

    statements: tuple[Statement, ...]
    escape: str = "\\"
    notes: tuple[str, ...] = ()


def parse(text: str) -> Dockerfile:
    """Raises BuildError."""
    if len(text) > MAX_BYTES:
        raise BuildError(f"the Dockerfile is larger than {MAX_BYTES >> 10} KiB")
    if "\0" in text:
        raise BuildError("the Dockerfile has a NUL character", text[: text.index("\0")].count("\n") + 1)
    lines = text.removeprefix("\ufeff").split("\n")
    escape, notes = _directives(lines)
    found = tuple(_statement(item) for item in _structure(lines) if not item["content"].lstrip().startswith("#"))
    if len(found) > MAX_STATEMENTS:
        raise BuildError(f"the Dockerfile has more than {MAX_STATEMENTS} instructions")
    if not found:
        raise BuildError("the Dockerfile has no instruction")
    return Dockerfile(found, escape, notes)


def _directives(lines: list[str]) -> tuple[str, tuple[str, ...]]:
    """The escape character, and notes about directives that have no effect here. They end at the first other line."""
    escape, notes = "\\", []
    for number, line in enumerate(lines, 1):
        match = _DIRECTIVE.match(line)
        if match is None:
            break
        name, value = match[1].lower(), match[2]
        if name != "escape":
            notes.append(f"line {number}: the directive `# {name}={value[:60]}` is ignored: the grammar is built in")
        elif value in ("\\", "`"):
            escape = value
        else:
            raise BuildError(f"invalid escape character {value[:20]!r}: it is \\ or `", number)
    return escape, tuple(notes)


def _structure(lines: list[str]) -> list[dict[str, str]]:
    # An empty line in the middle of a statement ends it for the library, but not for Docker; a comment does for neither.
    # The last one is empty, so that a continuation at the end of the file is complete.
    whole = "\n".join([line if line.strip() else "#" for line in lines] + ["", ""])
    parser = DockerfileParser(fileobj=io.BytesIO(whole.encode()), env_replace=False)
    found: list[dict[str, str]] = parser.structure
    return found


def _statement(item: dict[str, str]) -> Statement:
    statement = Statement(item["instruction"], item["value"].strip(), int(item["startline"]) + 1)
    if statement.name in ("RUN", "COPY", "ADD") and any(map(_HEREDOC.match, _words(statement.value))):
        raise BuildError(f"{statement.name} with a here-document (<<) is not supported", statement.line)
    return statement


def _words(value: str) -> list[str]:
    """Outside of quotes; what the shell will find wrong is for the shell to say."""
    try:
        return words.split(value)
    except words.WordError:
        return value.split()
