"""References to images, of containers and of volumes.

A reference that names no image is accepted, as in Kubernetes: its container waits with reason InvalidImageName.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from pinnace import fielderrors
from pinnace.errors import Cause
from pinnace.oci.reference import BadReference, normalise, parse

# Longest reference that is remembered with its policy, in characters.
MAX_KEPT = 255


def pull_policy(reference: str) -> str:
    """The default of a pull policy: Always for the tag latest, which moves, and for no tag."""
    return _short_policy(reference) if len(reference) <= MAX_KEPT else _policy(reference)


@lru_cache(maxsize=512)
def _short_policy(reference: str) -> str:
    """Pods of one image come again and again; only short references are kept."""
    return _policy(reference)


def _policy(reference: str) -> str:
    if not normalise(reference).partition("@")[0].endswith(":latest"):
        return "IfNotPresent"
    try:
        parse(reference)
    except BadReference:
        return "IfNotPresent"
    return "Always"


def validate(path: str, reference: str) -> Iterator[Cause]:
    if reference != reference.strip():
        yield fielderrors.invalid(path, reference, "must not have leading or trailing whitespace")
