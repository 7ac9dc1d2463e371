"""An image with clients of DNS: dig, getent and a program on glibc's resolver, and the same program on musl's."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.support.labs import DEADLINE, ROOT

NAME = "dnsclients"


def build(rootfs: Path) -> None:
    """A root filesystem for `kctl image load`."""
    run(str(ROOT / "examples/busybox-image.sh"), str(rootfs))
    source = str(ROOT / "tests/support/resolve.c")
    run("musl-gcc", "-static", "-O1", "-o", str(rootfs / "bin/resolve-musl"), source)
    run("gcc", "-O1", "-o", str(rootfs / "bin/resolve-glibc"), source)
    for program in ("dig", "getent"):
        path = shutil.which(program)
        assert path is not None, f"{program} is missing: apt-get install bind9-dnsutils"
        shutil.copy(path, rootfs / "bin" / program)
    for program in ("dig", "getent", "resolve-glibc"):
        _libraries(rootfs, rootfs / "bin" / program)
    (rootfs / "etc/nsswitch.conf").write_text("hosts: files dns\n")


def _libraries(rootfs: Path, program: Path) -> None:
    """What the program is linked with, at the same paths."""
    for library in re.findall(r"(/\S+) \(0x", run("ldd", str(program))):
        target = rootfs / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=DEADLINE).stdout
