"""An error as kctl says it: the server's with its reason, as kubectl does, and our own without one."""

from __future__ import annotations

import sys

from pinnace.errors import ApiError

# Reasons that say nothing which the message does not.
_PLAIN = ("ServiceUnavailable", "BadRequest", "InternalError", "")


def sentence(error: ApiError) -> str:
    if error.reason in _PLAIN:
        return f"error: {error.message}"
    # A field of a file, named by its place.
    if error.reason == "Invalid" and ":" in error.message.split(" ")[0]:
        return error.message
    return f"Error from server ({error.reason}): {error.message}"


def complain(error: ApiError) -> None:
    """On stderr."""
    print(sentence(error), file=sys.stderr)
