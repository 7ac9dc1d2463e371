"""Disks as the kernel makes them read-only after errors."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Every write below fails (EROFS); needs root."""
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True, timeout=20)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True, timeout=20)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=20)
