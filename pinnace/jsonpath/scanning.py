"""Finding the end of quotes and brackets, and what stands outside of both."""

from __future__ import annotations

from collections.abc import Iterator

_PAIRS = {"[": "]", "(": ")"}


def after_quote(text: str, start: int) -> int:
    """The position after the text that is quoted at `start`; -1 when it does not end on its line."""
    quote, index = text[start], start + 1
    while index < len(text) and text[index] != "\n":
        if text[index] == quote:
            return index + 1
        index += 2 if text[index] == "\\" else 1
    return -1


def scan(text: str, start: int) -> Iterator[tuple[int, str, int]]:
    """(position, character, depth of brackets before it) of everything from `start` that stands in no quotes."""
    opened: list[str] = []
    index = start
    while 0 <= index < len(text):
        char = text[index]
        yield index, char, len(opened)
        if char in "\"'":
            index = after_quote(text, index)
            continue
        if char in _PAIRS:
            opened.append(_PAIRS[char])
        elif opened and char == opened[-1]:
            opened.pop()
        index += 2 if char == "\\" else 1


def after_bracket(text: str, start: int) -> int:
    """The position after the bracket that closes the one at `start`; -1 when there is none."""
    for index, char, depth in scan(text, start):
        if depth == 1 and char == _PAIRS[text[start]]:
            return index + 1
    return -1


def split(text: str, separator: str) -> list[str]:
    """The parts between the separators that stand in neither quotes nor brackets."""
    cuts = [index for index, char, depth in scan(text, 0) if char == separator and not depth]
    return [text[start + 1 : stop] for start, stop in zip([-1, *cuts], [*cuts, len(text)], strict=True)]
