"""The kubectls of this machine: on the PATH, and those in the same directories under names like kubectl.1.29.

Pinnace needs none; tests that take one are skipped where there is none.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest


@functools.cache
def installed() -> dict[tuple[int, int], str]:
    """Paths by major and minor version, oldest first."""
    first = shutil.which("kubectl")
    directories = {Path(item) for item in os.get_exec_path()} | ({Path(first).resolve().parent} if first else set())
    names = (path for directory in directories if directory.is_dir() for path in directory.glob("kubectl*"))
    found: dict[tuple[int, int], str] = {}
    for path in sorted(names):
        if re.fullmatch(r"kubectl(\.1\.[0-9]+)?", path.name) and (version := _version(path)) is not None:
            found.setdefault(version, str(path))
    return dict(sorted(found.items()))


def _version(path: Path) -> tuple[int, int] | None:
    try:
        said = subprocess.run([path, "version", "--client", "-o", "json"], capture_output=True, timeout=30, check=True)
        version = re.match(r"v([0-9]+)\.([0-9]+)", json.loads(said.stdout)["clientVersion"]["gitVersion"])
    except (OSError, ValueError, KeyError, subprocess.SubprocessError):
        return None
    return (int(version[1]), int(version[2])) if version else None


def params() -> list[object]:
    """Parameters of a test: the newest kubectl that speaks SPDY alone (up to 1.29), and the newest of all, for WebSockets."""
    chosen = {"spdy" if minor < 30 else "websocket": path for (_, minor), path in installed().items()}
    if not chosen:
        return [pytest.param("", marks=pytest.mark.skip("kubectl is not installed"), id="none")]
    return [pytest.param(path, id=transport) for transport, path in chosen.items()]
