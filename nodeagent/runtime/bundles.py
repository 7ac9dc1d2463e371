"""Bundles as the agent makes and deletes them; `launcher/bundle.py` has the names in them.

A container's environment and arguments may hold Secrets. So `config.json` is a link to a file in memory (a tmpfs), which a
restart of the agent survives and a disk never sees. After a reboot the link leads nowhere, and nothing runs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nodeagent.launcher import bundle as names
from nodeagent.linux import rmtree
from nodeagent.runtime import jsonfields
from nodeagent.runtime.interface import ContainerConfig
from pinnace import pki

# Bytes of a container's arguments and environment together: what Linux takes with the usual stack of 8 MiB (execve(2)).
MAX_ARGUMENTS = 2 << 20


def write_config(bundle: Path, config: ContainerConfig, memory: Path) -> None:
    """Make `config.json`; `memory` is the directory of all configurations of a pod or build. Raises OSError."""
    size = sum(len(text) + 1 for text in (*config.args, *config.env))
    if size > MAX_ARGUMENTS:
        raise OSError(errno.E2BIG, f"arguments and environment have {size} bytes, more than {MAX_ARGUMENTS}")
    _write(Path(names.config(bundle)), jsonfields.dumps(config), memory / f"{bundle.parent.name}-{bundle.name}.json")


def write_oci_config(bundle: Path, spec: Mapping[str, Any]) -> None:
    """Make the `config.json` of an OCI runtime, in memory where the bundle's own is. Raises OSError."""
    own = Path(names.config(bundle))
    target = own.resolve() if own.is_symlink() else Path(names.oci(bundle)) / names.CONFIG
    _write(
        Path(names.oci(bundle)) / names.CONFIG,
        jsonfields.dumps(spec),
        target.with_suffix(".oci.json") if own.is_symlink() else target,
    )


def move_to_memory(bundle: Path, memory: Path) -> None:
    """Of a bundle that a version before 0.2 made: its configuration leaves the disk. Raises OSError."""
    own = Path(names.config(bundle))
    if own.is_symlink() or not own.exists():
        return
    target = memory / f"{bundle.parent.name}-{bundle.name}.json"
    pki.write_private(target, own.read_bytes(), sync=False)
    link = own.with_name(f".{own.name}.link")
    link.unlink(missing_ok=True)
    link.symlink_to(target)
    # The link takes its place at once: an exec may read it at any moment.
    link.replace(own)
    (Path(names.oci(bundle)) / names.CONFIG).unlink(missing_ok=True)


def _write(link: Path, data: bytes, target: Path) -> None:
    pki.write_private(target, data, sync=False)
    if target != link:
        # The link last: a configuration is whole or absent.
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def forget_config(bundle: Path) -> None:
    """Delete a bundle's configuration, of which a container that has ended has no use. Not having one is no error."""
    for path in (Path(names.oci(bundle)) / names.CONFIG, Path(names.config(bundle))):
        with contextlib.suppress(OSError):
            # A version before 0.2 made a file on the disk.
            (path.readlink() if path.is_symlink() else path).unlink()


def forget_ended(bundles: Iterable[Path]) -> None:
    """Delete the configurations of containers that have ended: a version before 0.2 left them."""
    for bundle in bundles:
        if os.path.exists(names.exit_record(bundle)):
            forget_config(bundle)


def discard(bundle: Path) -> None:
    """Delete a bundle's files. Other symlinks in it are removed, never followed. What cannot be deleted stays."""
    forget_config(bundle)
    with contextlib.suppress(OSError):
        rmtree.remove(bundle)


def forget_configs(memory: Path) -> None:
    """Delete the configurations of a pod or build, all at once. Not having any is no error."""
    shutil.rmtree(memory, ignore_errors=True)
