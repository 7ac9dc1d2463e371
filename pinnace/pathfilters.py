"""Ordered lists of path patterns: .dockerignore, COPY --exclude, COPY --parents. Pure.

A pattern that matches a directory matches everything below it; a `!` pattern takes paths out again; the last pattern that
matches decides; `**` is any number of directories. Source: moby/patternmatcher.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from pinnace import pathpatterns
from pinnace.pathpatterns import BadPattern, Matcher

# For each pattern, whether it matches a path; what lies below inherits it.
Matches = tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class PathFilter:
    """Patterns in order, each with whether it is an exception (`!`)."""

    patterns: tuple[tuple[Matcher, bool], ...] = ()

    @classmethod
    def of(cls, patterns: Iterable[str]) -> PathFilter:
        """Raises BadPattern."""
        return cls(tuple(found for pattern in patterns if (found := parse(pattern)) is not None))

    @property
    def top(self) -> Matches:
        """The matches of the root directory."""
        return (False,) * len(self.patterns)

    @property
    def has_exceptions(self) -> bool:
        """Whether a directory that is selected may hold files that are not."""
        return any(exception for _, exception in self.patterns)

    def matches(self, path: str, parent: Matches) -> Matches:
        """`path` is relative; `parent` is the result of its directory."""
        pairs = zip(self.patterns, parent, strict=True)
        return tuple(above or pattern.fullmatch(path) is not None for (pattern, _), above in pairs)

    def selected(self, matches: Matches) -> bool:
        """Whether the last pattern that matches is not an exception."""
        decision = False
        for (_, exception), hit in zip(self.patterns, matches, strict=True):
            if hit:
                decision = not exception
        return decision


def parse(text: str) -> tuple[Matcher, bool] | None:
    """One pattern and whether it is an exception; None for one that names the root. Raises BadPattern."""
    word = text.strip()
    exception = word.startswith("!")
    name = word[1:].strip() if exception else word
    if exception and not name:
        raise BadPattern("a ! needs a pattern")
    pattern = posixpath.normpath(name).lstrip("/") if name else ""
    if pattern in ("", "."):
        return None
    return pathpatterns.translate(pattern, doublestar=True), exception
