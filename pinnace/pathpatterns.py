"""File patterns as Go's filepath.Match has them, which Dockerfiles and .dockerignore files use; `**` on request.

`*` and `?` match within one component, `[a-z]` and `[^a-z]` one character, a backslash makes the next character literal.
Patterns may come from a hostile Dockerfile: one with many stars, on which a backtracking `re` takes exponential time, is
matched by simulating its automaton, in time proportional to pattern times path.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

MAX_PATTERN = 4096
# With so many stars `re` needs at most the square of the path's length (4,096 bytes).
_MAX_BACKTRACKING_STARS = 2
_STAR, _ANYTHING, _DIRECTORIES = "[^/]*", ".*", "(?:.*/)?"


class BadPattern(ValueError):
    """A pattern with a class that does not close, a backslash at its end, or too many characters."""


class Matcher(Protocol):
    def fullmatch(self, text: str, /) -> object | None:
        """Something true when the whole text matches, else None."""


@lru_cache(maxsize=4096)
def translate(pattern: str, *, doublestar: bool = False) -> Matcher:
    """Compile a pattern. Raises BadPattern."""
    if len(pattern) > MAX_PATTERN:
        raise BadPattern(f"a pattern of more than {MAX_PATTERN} characters: {pattern[:40]!r}...")
    tokens = _tokens(pattern, doublestar)
    if sum(token in (_STAR, _ANYTHING, _DIRECTORIES) for token in tokens) <= _MAX_BACKTRACKING_STARS:
        return re.compile("".join(tokens), re.DOTALL)
    return _Automaton(tuple(token if token in _LOOPS else re.compile(token, re.DOTALL) for token in tokens))


def _tokens(pattern: str, doublestar: bool) -> list[str]:
    """Expressions whose concatenation is the pattern's: the three kinds of star, and for the rest one character each."""
    out: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            text, at = _stars(pattern, at, doublestar)
            if out[-1:] != [text]:
                out.append(text)
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            text, at = _class(pattern, at)
            out.append(text)
        elif char == "\\":
            if at >= len(pattern):
                raise BadPattern(f"{pattern!r}: a backslash at the end")
            out.append(re.escape(pattern[at]))
            at += 1
        else:
            out.append(re.escape(char))
    return out


def _stars(pattern: str, at: int, doublestar: bool) -> tuple[str, int]:
    """The expression of the stars of which the first has been read, and the position after them."""
    first = at
    while pattern[at : at + 1] == "*":
        at += 1
    if at == first or not doublestar:
        return _STAR, at
    if pattern[at : at + 1] == "/":
        # Any number of directories, including none.
        return _DIRECTORIES, at + 1
    return _ANYTHING, at


def _class(pattern: str, at: int) -> tuple[str, int]:
    """The expression of a character class whose `[` has been read, and the position after it."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    ranges: list[str] = []
    while pattern[at : at + 1] != "]" or not ranges:
        low, at = _member(pattern, at)
        high = low
        if pattern[at : at + 1] == "-" and pattern[at + 1 : at + 2] != "]":
            high, at = _member(pattern, at + 1)
        if low > high:
            raise BadPattern(f"{pattern!r}: the range {low}-{high} is empty")
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    return f"(?!/)[{'^' if negated else ''}{''.join(ranges)}]", at + 1


def _member(pattern: str, at: int) -> tuple[str, int]:
    if pattern[at : at + 1] == "\\":
        at += 1
    if at >= len(pattern):
        raise BadPattern(f"{pattern!r}: a [ is not closed")
    return pattern[at], at + 1


# For each kind of star: whether it takes a character and stays, and whether the automaton may leave it after that one.
_LOOPS: dict[str, tuple[Callable[[str], bool], Callable[[str], bool]]] = {
    _STAR: (lambda char: char != "/", lambda char: True),
    _ANYTHING: (lambda char: True, lambda char: True),
    _DIRECTORIES: (lambda char: True, lambda char: char == "/"),
}


@dataclass(frozen=True, slots=True)
class _Automaton:
    """A pattern as a nondeterministic automaton: state N is before token N, the last one accepts."""

    tokens: tuple[str | re.Pattern[str], ...]

    def fullmatch(self, text: str, /) -> object | None:
        states = self._closed({0})
        for char in text:
            states = self._step(states, char)
            if not states:
                return None
        return True if len(self.tokens) in states else None

    def _step(self, states: set[int], char: str) -> set[int]:
        following: set[int] = set()
        left: set[int] = set()
        for state in states:
            token = self.tokens[state] if state < len(self.tokens) else None
            if isinstance(token, str):
                takes, leaves = _LOOPS[token]
                if takes(char):
                    # Inside a star that may only be left after a slash, the state is kept apart from "before it".
                    following.add(state)
                    left |= {state + 1} if leaves(char) else set()
            elif token is not None and token.fullmatch(char):
                left.add(state + 1)
        return following | self._closed(left)

    def _closed(self, states: set[int]) -> set[int]:
        """With the states that are reached by stars that match nothing."""
        found = set(states)
        for state in sorted(states):
            while state < len(self.tokens) and isinstance(self.tokens[state], str):
                state += 1
                found.add(state)
        return found


def has_magic(text: str) -> bool:
    return any(char in text for char in "*?[\\")
