"""`.dockerignore`: the files that are left out of a build's context. Pure.

One pattern a line, relative to the context (see `pinnace.pathfilters`); `#` in the first column begins a comment.
"""

from __future__ import annotations

from pinnace import pathfilters
from pinnace.errors import BadRequest
from pinnace.pathfilters import PathFilter
from pinnace.pathpatterns import BadPattern

MAX_PATTERNS = 1_000


def parse(text: str, name: str) -> PathFilter:
    """Raises BadRequest naming `name` and the line."""
    found = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if line.startswith("#") or not line.strip():
            continue
        try:
            pattern = pathfilters.parse(line)
        except BadPattern as error:
            raise BadRequest(f"{name}:{number}: {error}") from None
        found += [pattern] if pattern is not None else []
    if len(found) > MAX_PATTERNS:
        raise BadRequest(f"{name}: more than {MAX_PATTERNS} patterns")
    return PathFilter(tuple(found))
