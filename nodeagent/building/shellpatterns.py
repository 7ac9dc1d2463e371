"""Patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*` any characters, `?` one, a backslash before `* ? \\ } /`. Pure.

A pattern is an automaton whose states are the bits of one integer, so that neither time nor memory depends on how
often it could match: values and patterns come from a hostile Dockerfile. Source: BuildKit, frontend/dockerfile/shell.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_PATTERN = 4096


class PatternError(ValueError):
    """A pattern with an escape that has no meaning, or too many characters."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """`tokens` are characters, None for any; bit N of `loops` says that a star stands before token N."""

    tokens: tuple[str | None, ...]
    loops: int

    @property
    def reversed(self) -> Pattern:
        count = len(self.tokens)
        return Pattern(self.tokens[::-1], sum(1 << (count - n) for n in range(count + 1) if self.loops >> n & 1))


def parse(text: str) -> Pattern:
    """Raises PatternError."""
    if len(text) > MAX_PATTERN:
        raise PatternError(f"a pattern of more than {MAX_PATTERN} characters: {text[:40]!r}...")
    tokens: list[str | None] = []
    loops, at = 0, 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "*":
            loops |= 1 << len(tokens)
        elif char == "?":
            tokens.append(None)
        elif char == "\\":
            if text[at : at + 1] not in ("*", "?", "\\", "}", "/"):
                raise PatternError(f"invalid escape \\{text[at : at + 1]} in the pattern {text[:40]!r}")
            tokens.append(text[at])
            at += 1
        else:
            tokens.append(char)
    return Pattern(tuple(tokens), loops)


class _Automaton:
    """`anywhere`: a match may begin before every character."""

    def __init__(self, pattern: Pattern, *, anywhere: bool = False) -> None:
        self._loops = pattern.loops
        self._accepting = 1 << len(pattern.tokens)
        self._begin = int(anywhere)
        self._wildcards = sum(1 << n for n, token in enumerate(pattern.tokens) if token is None)
        self._masks: dict[str, int] = {}
        for number, token in enumerate(pattern.tokens):
            if token is not None:
                self._masks[token] = self._masks.get(token, self._wildcards) | 1 << number

    def accepts(self, states: int) -> bool:
        return bool(states & self._accepting)

    def read(self, states: int, char: str) -> int:
        moved = (states & self._masks.get(char, self._wildcards)) << 1
        return moved | (states & self._loops) | self._begin

    def match(self, value: str, start: int, *, longest: bool) -> int:
        """The end of the shortest or longest match that begins at `start`; `start` for none."""
        states, found = 1, start
        for position in range(start, len(value) + 1):
            if self.accepts(states):
                found = position
                if not longest:
                    break
            if position == len(value) or not states:
                break
            states = self.read(states, value[position])
        return found


def without_prefix(value: str, pattern: str, *, longest: bool) -> str:
    """`${value#pattern}`, `##` for the longest. Raises PatternError."""
    return value[_Automaton(parse(pattern)).match(value, 0, longest=longest) :]


def without_suffix(value: str, pattern: str, *, longest: bool) -> str:
    """`${value%pattern}`, `%%` for the longest. Raises PatternError."""
    return value[: len(value) - _Automaton(parse(pattern).reversed).match(value[::-1], 0, longest=longest)]


def replaced(value: str, pattern: str, replacement: str, *, everywhere: bool) -> str:
    """`${value/pattern/replacement}`, `//` for every match: the leftmost and longest. Raises PatternError."""
    found = parse(pattern)
    automaton = _Automaton(found)
    out: list[str] = []
    at, behind = 0, -1
    for start in _starts(found, value):
        if start < at:
            continue
        end = automaton.match(value, start, longest=True)
        if end == start == behind:
            # As in Go, no empty match directly behind another match.
            continue
        behind = end if end > start else -1
        out += [value[at:start], replacement]
        at = end
        if end == start < len(value):
            # After an empty match the next character is kept, and the next match is behind it.
            out.append(value[start])
            at = start + 1
        if not everywhere:
            break
    return "".join(out) + value[at:]


def _starts(pattern: Pattern, value: str) -> list[int]:
    """Where matches begin, in order, found by reading backwards once."""
    automaton = _Automaton(pattern.reversed, anywhere=True)
    states, found = 1, []
    for position in range(len(value), -1, -1):
        if automaton.accepts(states):
            found.append(position)
        if position:
            states = automaton.read(states, value[position - 1])
    return found[::-1]
