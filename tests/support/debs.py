"""Root directories of Debian's packages, for images that tests build. Fetched by apt, unpacked once for a checkout.

Packages are named one by one, with the libraries that they need: without what they depend on for being installed.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.downloads import PLACE, WITHIN

# What no program needs: documents, translations, character sets.
_LEFT_OUT = ("./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./usr/share/lintian", "./usr/lib/*/gconv")
PYTHON = (
    "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libc6", "libcrypt1", "libssl3", "libexpat1",
    "libffi8", "zlib1g",
)  # fmt: skip
HAPROXY = (
    "haproxy", "libcap2", "libgcc-s1", "libgcrypt20", "libgpg-error0", "liblua5.3-0", "liblz4-1", "liblzma5",
    "libopentracing-c-wrapper0", "libopentracing1", "libpcre2-8-0", "libstdc++6", "libsystemd0", "libzstd1",
)  # fmt: skip


def root(name: str, *packages: str) -> Path:
    """A directory with the packages' files, which is not to be changed. Skips the test where they cannot be had."""
    place = PLACE / f"debs-{name}"
    PLACE.mkdir(exist_ok=True)
    with open(PLACE / f"debs-{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = place / ".complete"
        if not done.exists() or done.read_text() != "\n".join(packages):
            shutil.rmtree(place, ignore_errors=True)
            (place / "root").mkdir(parents=True)
            _download(place, packages)
            for package in place.glob("*.deb"):
                _unpack(package, place / "root")
            done.write_text("\n".join(packages))
    return place / "root"


def _download(place: Path, packages: tuple[str, ...]) -> None:
    """As deploy/kernel.sh: the lists of packages may be old, or missing."""
    command = ["apt-get", "download", "-qq", *packages]
    try:
        if subprocess.run(command, cwd=place, capture_output=True, timeout=WITHIN, check=False).returncode:
            subprocess.run(["apt-get", "update", "-qq"], capture_output=True, timeout=WITHIN, check=True)
            subprocess.run(command, cwd=place, capture_output=True, timeout=WITHIN, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"{', '.join(packages)} cannot be downloaded: {getattr(error, 'stderr', b'')[-200:]!r}")


def _unpack(package: Path, target: Path) -> None:
    reading = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], capture_output=True, timeout=WITHIN, check=True)
    left_out = [f"--exclude={path}" for path in _LEFT_OUT]
    subprocess.run(["tar", "-x", "-C", str(target), *left_out], input=reading.stdout, timeout=WITHIN, check=True)
    package.unlink()
