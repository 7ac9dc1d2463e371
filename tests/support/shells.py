"""Lines of a shell in a network namespace."""

from __future__ import annotations

import subprocess
from pathlib import Path


def inside(netns: Path, line: str) -> str:
    """What it prints; a command that fails ends it, and fails the test."""
    done = subprocess.run(
        ["nsenter", f"--net={netns}", "sh", "-ec", line], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return done.stdout
