"""An error as kctl prints it: the server's with its reason, as kubectl does, and kctl's own without one."""

from __future__ import annotations

import re
import sys

from pinnace.errors import ApiError
from pinnace.fieldpaths import printable

_LINES = re.compile(r"([\n\t])")
# Reasons that add nothing to the message.
_PLAIN = ("ServiceUnavailable", "BadRequest", "InternalError", "Timeout", "")


def sentence(error: ApiError) -> str:
    if error.reason in _PLAIN:
        return f"error: {error.message}"
    # A field of a file, named by its place.
    if error.reason == "Invalid" and ":" in error.message.split(" ")[0]:
        return error.message
    return f"Error from server ({error.reason}): {error.message}"


def complain(error: ApiError) -> None:
    """On stderr."""
    report(sentence(error))


def report(text: str) -> None:
    """A sentence or several on stderr: errors quote manifests, servers and other users' objects."""
    print(shown(text), file=sys.stderr)


def shown(text: str) -> str:
    """Text with what could steer the terminal escaped; line ends and tabs stay."""
    return "".join(part if part in ("\n", "\t") else printable(part) for part in _LINES.split(text))
