"""YAML text to the values of a builder, by libyaml's events: never through a recursive composer."""

from __future__ import annotations

from typing import Any

import yaml

from pinnace.errors import Cause
from pinnace.manifest import scalars
from pinnace.manifest.building import Builder, Unreadable
from pinnace.manifest.letters import LETTERS

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = scalars.CORE + "merge"
# Scalars of one document that `_quote_colon` helps; each costs another look at the document.
MAX_COLONS = 20


def read(builder: Builder, text: str, line: int) -> int:
    """Feed the one document of `text`, which begins on `line`, to `builder`; returns the line on which its content begins.

    A syntax error is recorded there, and so is text that cannot be used further."""
    # As kubectl, which reads line by line: CRLF ends a line, and the last line ends even where the file does not say so.
    text = text.replace("\r\n", "\n")
    text = text if text.endswith("\n") else text + "\n"
    for _ in range(MAX_COLONS):
        try:
            return _read(builder, text, line)
        except yaml.MarkedYAMLError as error:
            quoted = _quote_colon(text, error)
            if not quoted:
                mark = error.problem_mark or error.context_mark
                at = mark.line + line if mark else line
                builder.give_up(f"not valid YAML: {error.problem}{_hint(text, mark)}", at)
                return line
            text = quoted
            builder.restart()
    builder.give_up(f"not valid YAML: more than {MAX_COLONS} plain scalars end with a colon in [] or {{}}", line)
    return line


def _read(builder: Builder, text: str, line: int) -> int:
    """Raises yaml.MarkedYAMLError."""
    first, seen = line, False
    try:
        for event in yaml.parse(text, Loader=_Loader):
            here = line + _line(event)
            if isinstance(event, yaml.DocumentStartEvent):
                if seen:
                    raise Unreadable("text behind the end of the document (separate documents by a line `---`)", here)
                first, seen = here, True
            _feed(builder, event, here)
    except Unreadable as error:
        builder.give_up(error.message, error.line)
    except yaml.reader.ReaderError as error:
        before = text.encode()[: error.position].count(b"\n")
        builder.give_up(f"not valid YAML: {str(error).splitlines()[0]}", before + line)
    return first


def _quote_colon(text: str, error: yaml.MarkedYAMLError) -> str:
    """`text` with quotes around the scalar at fault if it ends with a colon, as in `[fd00::, x]`: kubectl reads that, libyaml
    does not. Else nothing."""
    start, end = error.context_mark, error.problem_mark
    if error.problem != "found unexpected ':'" or start is None or end is None:
        return ""
    scalar = text[start.index : end.index + 1]
    return text[: start.index] + "'" + scalar.replace("'", "''") + "'" + text[end.index + 1 :] if "\n" not in scalar else ""


def _line(event: Any) -> int:
    """Counted from 0."""
    return int(event.start_mark.line)


def _hint(text: str, mark: Any) -> str:
    lines = text.splitlines()
    at_tab = mark is not None and mark.line < len(lines) and lines[mark.line][mark.column : mark.column + 1] == "\t"
    return " (a tab: indent with spaces)" if at_tab else ""


def _feed(builder: Builder, event: Any, line: int) -> None:
    if isinstance(event, yaml.ScalarEvent):
        _scalar(builder, event, line)
    elif isinstance(event, yaml.CollectionStartEvent):
        _check_tag(builder, event.tag, line)
        builder.open({} if isinstance(event, yaml.MappingStartEvent) else [], line, anchor=event.anchor)
    elif isinstance(event, yaml.CollectionEndEvent):
        builder.close()
    elif isinstance(event, yaml.AliasEvent):
        builder.alias(str(event.anchor), line)


def _scalar(builder: Builder, event: Any, line: int) -> None:
    tag, text = event.tag, event.value
    plain = not event.style and tag is None
    if builder.at_key() and text == "<<" and (plain or tag == _MERGE):
        builder.merge_key(line)
        return
    _check_tag(builder, tag, line)
    value = scalars.resolve(text) if plain else text
    if tag is not None and tag.startswith(scalars.CORE):
        try:
            value = scalars.tagged(tag, text)
        except scalars.ScalarError as error:
            builder.fail(Cause("", str(error)), line)
    if plain and text in LETTERS:
        builder.letter(text)
    builder.scalar(value, line, anchor=event.anchor)


def _check_tag(builder: Builder, tag: str | None, line: int) -> None:
    if tag not in (None, "!") and not str(tag).startswith(scalars.CORE):
        builder.fail(Cause("", f"tag {tag} is not supported"), line)
