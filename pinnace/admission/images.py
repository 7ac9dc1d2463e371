"""References to images, of containers and of volumes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pinnace.errors import Cause

_REFERENCE = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_./:@+]{0,511}\Z", re.ASCII)


def pull_policy(reference: str) -> str:
    """What Kubernetes makes of none: a tag that moves is asked for each time."""
    tag = reference.rpartition("/")[2]
    latest = "@" not in tag and (":" not in tag or tag.endswith(":latest"))
    return "Always" if latest else "IfNotPresent"


def faults(path: str, reference: str) -> Iterator[Cause]:
    if reference and not _REFERENCE.match(reference):
        yield Cause(path, "Invalid value: not an image reference")
