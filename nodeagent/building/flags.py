"""Flags of instructions: `--name=value` before the arguments. Pure.

Source: BuildKit, frontend/dockerfile/parser (extractBuilderFlags) and instructions (BFlags).
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from nodeagent.building.errors import BuildError
from nodeagent.building.whitespace import is_space

MAX_FLAGS = 256


def extract(text: str, escape: str) -> tuple[list[str], str]:
    """The words at the begin of `text` that start with `--`, without quotes and escapes, and the rest. `--` ends them."""
    flags: list[str] = []
    at = 0
    while True:
        while at < len(text) and is_space(text[at]):
            at += 1
        if not text.startswith("--", at):
            return flags, text[at:]
        word, at = _word(text, at, escape)
        if word == "--":
            return flags, text[at:].lstrip() if at < len(text) else ""
        flags.append(word)


def _word(text: str, at: int, escape: str) -> tuple[str, int]:
    out: list[str] = []
    quote = ""
    while at < len(text) and (quote or not is_space(text[at])):
        char = text[at]
        at += 1
        if char == quote:
            quote = ""
        elif not quote and char in "\"'":
            quote = char
        elif char == escape:
            # At the end it is dropped.
            out.append(text[at : at + 1])
            at += 1
        else:
            out.append(char)
    return "".join(out), at


@dataclass(frozen=True, slots=True)
class Flags:
    """Values by name; `lists` of the flags that may be repeated."""

    values: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def text(self, name: str) -> str:
        return self.values.get(name, "")

    def listed(self, name: str) -> tuple[str, ...]:
        return self.lists.get(name, ())

    def boolean(self, name: str) -> bool | None:
        """None when it is not given."""
        return self.values[name] == "true" if name in self.values else None


def parse(
    given: Collection[str], line: int, *, texts: Collection[str] = (), lists: Collection[str] = (),
    booleans: Collection[str] = (),
) -> Flags:  # fmt: skip
    """Raises BuildError for a flag that is unknown, lacks its value or is given twice."""
    values: dict[str, str] = {}
    listed: dict[str, tuple[str, ...]] = {}
    if len(given) > MAX_FLAGS:
        raise BuildError(f"more than {MAX_FLAGS} flags", line)
    for word in given:
        name, equals, value = word[2:].partition("=")
        if name not in {*texts, *lists, *booleans}:
            raise BuildError(f"unknown flag: --{name[:40]}{suggestion(name, [*texts, *lists, *booleans])}", line)
        if name in values:
            raise BuildError(f"duplicate flag specified: --{name}", line)
        # A text may be empty; a boolean needs no value, but `--name=` is none.
        if (name in booleans and equals and not value) or (name not in booleans and not equals):
            raise BuildError(f"missing a value on flag: --{name}", line)
        if name in lists:
            listed[name] = (*listed.get(name, ()), value)
        else:
            values[name] = _boolean(name, value, line) if name in booleans else value
    return Flags(values, listed)


def _boolean(name: str, value: str, line: int) -> str:
    if value.lower() not in ("", "true", "false"):
        raise BuildError(f"expecting boolean value for flag --{name}, not: {value[:40]}", line)
    return value.lower() or "true"


def suggestion(name: str, known: Collection[str]) -> str:
    """` (did you mean X?)`, or nothing."""
    close = difflib.get_close_matches(name[:40], known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
