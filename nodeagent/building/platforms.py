"""Platforms as FROM --platform names them. Pure. Source: containerd/platforms."""

from __future__ import annotations

from nodeagent.building.errors import BuildError
from nodeagent.building.instructions import PLATFORM, From

_SYSTEM, _, _ARCHITECTURE = PLATFORM.partition("/")
_ALIASES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armhf": "arm",
    "i386": "386",
    "i486": "386",
    "i686": "386",
}
# Variants that are the architecture itself.
_VARIANTS = {"amd64": ("", "v1"), "arm64": ("", "v8", "8")}


def check(text: str, origin: From) -> None:
    """Raises BuildError unless it is this node's platform."""
    if not text:
        raise BuildError(f"empty platform value from expression {origin.platform}", origin.line)
    if normalised(text) != PLATFORM:
        raise BuildError(f"FROM --platform={text[:40]} is not supported: this node builds for {PLATFORM}", origin.line)


def normalised(text: str) -> str:
    """`linux/x86_64`, `amd64` and `linux/amd64/v1` are one platform; an unknown one is returned as it is."""
    parts = text.lower().split("/")
    if parts == ["local"]:
        return PLATFORM
    if len(parts) == 1:
        # A system or an architecture alone; the other is this node's.
        parts = [parts[0], _ARCHITECTURE] if parts[0] == _SYSTEM else [_SYSTEM, parts[0]]
    architecture = _ALIASES.get(parts[1], parts[1])
    variant = parts[2] if len(parts) == 3 else ""
    if len(parts) > 3 or variant not in _VARIANTS.get(architecture, ("",)):
        return text
    return f"{parts[0]}/{architecture}"
