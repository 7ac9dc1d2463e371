"""The bytes of a file to the text of its documents, as kubectl cuts them: before anything is parsed.

So an error in one document leaves the others readable. Source: YAMLReader of k8s.io/apimachinery/pkg/util/yaml, and
FileVisitor of k8s.io/cli-runtime (byte order marks, invalid UTF-8).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
BOM = "\ufeff"
_SEPARATOR = re.compile(r"^\ufeff?---([^\n]*)(?:\n|\Z)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Chunk:
    """The text of one document and the number of its first line; `error` says why it cannot be read."""

    text: str
    line: int
    error: str = ""


def decode(data: bytes) -> tuple[str, int | None]:
    """Text by its byte order mark, else UTF-8, and the line of the first bytes that were replaced by U+FFFD, if any."""
    encoding = "utf-8"
    for mark, name in _MARKS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], name
            break
    try:
        return data.decode(encoding), None
    except UnicodeDecodeError as error:
        return data.decode(encoding, "replace"), data[: error.start].decode(encoding).count("\n") + 1


def split(text: str) -> Iterator[Chunk]:
    """Documents between lines that begin with `---`; behind it only spaces and a comment are allowed."""
    start, line, error = 0, 1, ""
    for found in _SEPARATOR.finditer(text):
        yield from _chunk(text[start : found.start()], line, error)
        line += text.count("\n", start, found.start())
        rest = found[1].strip()
        error = "" if not rest or rest[0] == "#" else f"invalid document separator: {('---' + found[1].rstrip())[:80]}"
        if error:
            yield Chunk("", line, error)
        line += text.count("\n", found.start(), found.end())
        start = found.end()
    yield from _chunk(text[start:], line, error)


def _chunk(text: str, line: int, error: str) -> Iterator[Chunk]:
    """Nothing for what has only comments or directives (`%YAML 1.2`), or follows a separator that was wrong."""
    if not error and any(content[0] not in "#%" for row in text.split("\n") if (content := row.strip())):
        yield Chunk(text.removeprefix(BOM), line)
