"""Layers below those of an image, with the directories and files that containers have something mounted on.

The runtime makes a mount point that an image lacks in the container's writable layer. A directory costs it some 0.2 ms there, a
file 0.4 ms; in a layer that all containers of the node share they are there already. Whatever the image has at such a path
hides it: a symlink stays one, a directory keeps its mode, and what the image removed is made by the runtime as before.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from nodeagent.linux import rmtree

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105
# By the name of a layer, which is another one when its content is: its directories and its files.
_USUAL = "usual-1", ("dev", "proc", "sys", "etc"), ("etc/hosts", "etc/hostname", "etc/resolv.conf")
_TOKEN = "token-1", (TOKEN[1:],), ()
# For images with a symlink from /var/run to /run.
_TOKEN_IN_RUN = "token-in-run-1", (TOKEN.removeprefix("/var/"),), ()
_Content = tuple[str, tuple[str, ...], tuple[str, ...]]


def below(folder: Path, layers: Sequence[str], targets: Collection[str]) -> tuple[str, ...]:
    """The layers to put below an image's `layers`, for mounts on `targets`; made in `folder` when they are missing.

    A token's only where one is mounted: no other container sees its path. Raises OSError."""
    found = [_ready(folder, _USUAL)]
    if TOKEN in targets:
        found.append(_ready(folder, _TOKEN_IN_RUN if _leads_to_run(layers) else _TOKEN))
    return tuple(found)


def _leads_to_run(layers: Sequence[str]) -> bool:
    """Whether /var/run is a symlink. A guess wherever layers replace each other's: a wrong one costs time alone."""
    return any(os.path.islink(f"{layer}/var/run") for layer in layers if not os.path.islink(f"{layer}/var"))


def _ready(folder: Path, content: _Content) -> str:
    path = folder / content[0]
    if not path.is_dir():
        _make(path, content)
    return str(path)


def _make(path: Path, content: _Content) -> None:
    """Whole or not at all, also if two do it at once."""
    _, directories, files = content
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = Path(tempfile.mkdtemp(dir=path.parent, prefix="."))
    try:
        for name in directories:
            (fresh / name).mkdir(parents=True)
        for name in files:
            (fresh / name).touch()
        for found in (fresh, *fresh.rglob("*")):
            found.chmod(0o755 if found.is_dir() else 0o644)
        fresh.rename(path)
    except BaseException:
        rmtree.remove(fresh)
        if not path.is_dir():
            raise
