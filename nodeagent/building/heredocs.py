"""Here-documents of RUN, COPY and ADD: `<<NAME`, `<<-NAME` (leading tabs removed), `<<"NAME"` (content not expanded). Pure.

Source: BuildKit, frontend/dockerfile/parser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from nodeagent.building import expansion
from nodeagent.building.errors import BuildError
from nodeagent.building.expansion import ExpansionError, Rules
from nodeagent.building.lines import Lines

MAX_DOCUMENTS = 64
_WORD = re.compile(r"(\d*)<<(-?)[\t\n\f\r ]*([^<]*)", re.DOTALL)
_TABS = re.compile(r"^\t+", re.MULTILINE)
_LINE_RULES = Rules(raw_quotes=True, raw_escapes=True, keep_unset=True)


@dataclass(frozen=True, slots=True)
class Heredoc:
    """`expand`: variables in the content of COPY and ADD are replaced; `chomp`: leading tabs are removed. `content` is as
    written."""

    name: str
    expand: bool = True
    chomp: bool = False
    content: str = ""

    @property
    def text(self) -> str:
        return _TABS.sub("", self.content) if self.chomp else self.content

    def ends_at(self, line: str) -> bool:
        return (line.lstrip("\t") if self.chomp else line) == self.name


def parse(word: str) -> Heredoc | None:
    """A whole word that begins a here-document, else None. Raises ExpansionError for a quote that is not closed."""
    match = _WORD.fullmatch(word)
    if match is None or not match[3]:
        return None
    names = expansion.split(match[3], {}, Rules(keep_unset=True))
    if len(names) != 1:
        return None
    raw = expansion.split(match[3], {}, Rules(raw_quotes=True, keep_unset=True))
    # Quotes that the name has lost mean that the content is not expanded.
    quoted = sum(map(names[0].count, "'\"")) != sum(map(raw[0].count, "'\""))
    return Heredoc(names[0], not quoted, bool(match[2]))


def read(text: str, lines: Lines, number: int) -> tuple[Heredoc, ...]:
    """The documents that the instruction `text` of line `number` begins, with their content. Raises BuildError."""
    found = []
    for heredoc in _begun(text, number):
        content = lines.heredoc(heredoc.ends_at)
        if content is None:
            raise BuildError(f"unterminated heredoc: there is no line {heredoc.name[:60]!r}", number)
        found.append(replace(heredoc, content=content))
    return tuple(found)


def _begun(text: str, number: int) -> list[Heredoc]:
    if "<<" not in text:
        return []
    try:
        words = expansion.split(text, {}, _LINE_RULES)
    except ExpansionError:
        # The shell's own quoting; it is for the shell to judge.
        return []
    try:
        found = [heredoc for word in words if (heredoc := parse(word)) is not None]
    except ExpansionError as error:
        raise BuildError(str(error), number) from None
    if len(found) > MAX_DOCUMENTS:
        raise BuildError(f"more than {MAX_DOCUMENTS} here-documents in one instruction", number)
    return found
