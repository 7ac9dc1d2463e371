"""AppArmor on this node: whether the kernel has it, and which profiles are loaded."""

from __future__ import annotations

from pathlib import Path

_ENABLED = Path("/sys/module/apparmor/parameters/enabled")
_PROFILES = Path("/sys/kernel/security/apparmor/profiles")


def loaded(enabled: Path = _ENABLED, profiles: Path = _PROFILES) -> frozenset[str] | None:
    """Names of profiles; None when the kernel has no AppArmor, or it is off."""
    try:
        if enabled.read_text().strip() != "Y":
            return None
        return frozenset(line.rpartition(" (")[0] for line in profiles.read_text().splitlines())
    except FileNotFoundError:
        return None
