"""The agent's directory in memory: a tmpfs below its state directory, for what must never reach a disk.

    memory/secrets/             the Secrets of the assignment (control/assignment.py)
    memory/configs/             container configurations, whose environment may hold Secrets (launcher/bundle.py)

It survives a restart of the agent and not a reboot. It is never swapped out where the kernel knows `noswap` (Linux 6.4).
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from nodeagent.linux import syscalls

log = logging.getLogger("pinnace.agent")
# Only what is written takes memory: a Secret has at most 1 MiB, a configuration some 2 (runtime/bundles.py).
_OPTIONS = "mode=700,size=1g"


def mount(path: Path) -> Path:
    """Mount the tmpfs unless it is mounted; returns `path`. Raises OSError."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if os.path.ismount(path):
        return path
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    try:
        syscalls.mount("memory", path, "tmpfs", flags, f"{_OPTIONS},noswap")
    except OSError:
        log.info("memory_may_swap path=%s", path)
        syscalls.mount("memory", path, "tmpfs", flags, _OPTIONS)
    return path
