"""`.dockerignore`: which files of a build's context stay at home. Pure.

Docker's rules: one pattern a line, relative to the context; a pattern that matches a folder matches all below it; `!`
takes back; the last pattern that matches decides; `**` is any number of folders; `#` begins a comment.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from pinnace import pathpatterns
from pinnace.errors import BadRequest

# For each pattern whether it matches a path; what lies below inherits it.
Matches = tuple[bool, ...]
MAX_PATTERNS = 1_000


@dataclass(frozen=True, slots=True)
class Ignore:
    patterns: tuple[tuple[re.Pattern[str], bool], ...] = ()

    @property
    def top(self) -> Matches:
        return (False,) * len(self.patterns)

    @property
    def takes_back(self) -> bool:
        """Whether a folder that is ignored may hold files that are not."""
        return any(back for _, back in self.patterns)

    def matches(self, path: str, parent: Matches) -> Matches:
        """`path` without a leading slash; `parent` what its folder gave."""
        pairs = zip(self.patterns, parent, strict=True)
        return tuple(above or pattern.fullmatch(path) is not None for (pattern, _), above in pairs)

    def ignored(self, matches: Matches) -> bool:
        decision = False
        for (_, back), hit in zip(self.patterns, matches, strict=True):
            if hit:
                decision = not back
        return decision


def parse(text: str, name: str) -> Ignore:
    """Raises BadRequest naming `name` and the line."""
    found = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        # A comment has its # in the first column; before a pattern blanks are dropped.
        if line.startswith("#") or not line.strip():
            continue
        word = line.strip()
        back = word.startswith("!")
        pattern = posixpath.normpath(word[1:].strip() if back else word).lstrip("/")
        if back and not word[1:].strip():
            raise BadRequest(f"{name}:{number}: a ! needs a pattern")
        if pattern in ("", "."):
            continue
        try:
            found.append((pathpatterns.translate(pattern, doublestar=True), back))
        except pathpatterns.BadPattern as error:
            raise BadRequest(f"{name}:{number}: {error}") from None
    if len(found) > MAX_PATTERNS:
        raise BadRequest(f"{name}: more than {MAX_PATTERNS} patterns")
    return Ignore(tuple(found))
