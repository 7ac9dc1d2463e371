"""Words of ENV, LABEL and ARG: separated by white space outside of quotes. Quotes and escapes stay in the words.

Source: BuildKit, frontend/dockerfile/parser (parseWords).
"""

from __future__ import annotations

from nodeagent.building.whitespace import is_space


def split(text: str, escape: str = "\\") -> list[str]:
    """A quote that is not closed reaches to the end; an escape character at the end is dropped."""
    words: list[str] = []
    current: list[str] = []
    quote, at = "", 0
    while at < len(text):
        char = text[at]
        at += 1
        if not quote and is_space(char):
            words += ["".join(current)] if current else []
            current = []
            continue
        if char == escape and quote != "'":
            # With the next character, which it makes literal.
            current += [char, text[at]] if at < len(text) else []
            at += 1
            continue
        if char == quote:
            quote = ""
        elif not quote and char in "\"'":
            quote = char
        current.append(char)
    return words + (["".join(current)] if current else [])
