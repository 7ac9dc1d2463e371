"""Semantic versions in rules: `semver`, `isSemver`, and the parts and the order of versions.

Source: apiserver's pkg/cel/library/semverlib.go; Semantic Versioning 2.0.0 for the order.
"""

from __future__ import annotations

import re
from typing import Any

KIND = "kubernetes.Semver"
_NUMBER = r"(?:0|[1-9]\d*)"
_IDENTIFIER = rf"(?:{_NUMBER}|\d*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)
# With fewer numbers, a v, or leading zeros.
_LENIENT = re.compile(r"[vV]?(\d+(?:\.\d+){0,2})([-+].*)?", re.ASCII | re.S)
MAX_TEXT, MAX_NUMBER = 256, (1 << 63) - 1


def of_text(text: str, normalize: bool = False) -> dict[str, str]:
    """Raises ValueError."""
    wanted = _normalized(text) if normalize else text
    found = _VERSION.fullmatch(wanted) if len(wanted) <= MAX_TEXT else None
    if found is None or any(int(number) > MAX_NUMBER for number in found.groups()[:3]):
        raise ValueError(f"invalid semantic version: {text[:80]}")
    return {KIND: wanted}


def _normalized(text: str) -> str:
    found = _LENIENT.fullmatch(text) if len(text) <= MAX_TEXT else None
    if found is None:
        return text
    numbers = [number.lstrip("0") or "0" for number in found[1].split(".")]
    return ".".join([*numbers, "0", "0"][:3]) + (found[2] or "")


def is_semver(text: str, normalize: bool = False) -> bool:
    try:
        of_text(text, normalize)
    except ValueError:
        return False
    return True


def part(value: Any, at: int) -> int:
    """Major, minor or patch by its place. Raises ValueError for what is no version."""
    return int(_parsed(value)[at])


def order(value: Any) -> tuple[Any, ...]:
    """What versions are ordered by; a pre-release comes before its version, and the build does not count."""
    *numbers, before = _parsed(value)
    if before is None:
        return (*map(int, numbers), 1, ())
    identifiers = tuple((0, int(one), "") if one.isdigit() else (1, 0, one) for one in before.split("."))
    return (*map(int, numbers), 0, identifiers)


def _parsed(value: Any) -> tuple[Any, ...]:
    found = _VERSION.fullmatch(value[KIND]) if isinstance(value, dict) and isinstance(value.get(KIND), str) else None
    if found is None:
        raise ValueError("no such overload: not a Semver")
    return found.groups()
