"""hostPath: what must be at a path of the node, and what is made there when it is missing."""

from __future__ import annotations

import os
import stat

from nodeagent.volumes.content import VolumeError

_TYPES = {
    "Directory": (stat.S_ISDIR, "a directory"), "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"), "FileOrCreate": (stat.S_ISREG, "a file"), "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"), "BlockDevice": (stat.S_ISBLK, "a block device"),
}  # fmt: skip


def on_node(path: str) -> str:
    """The absolute path of a hostPath: a relative one begins at the root, where container runtimes are started."""
    return os.path.join("/", path)


def check(path: str, type_: str) -> None:
    """Make what may be made, and raise VolumeError unless the path is of its type. Raises OSError.

    Without a type nothing is asked, and a missing path becomes a folder, as container runtimes make it.
    """
    if type_ in ("", "DirectoryOrCreate") and not os.path.lexists(path):
        os.makedirs(path, 0o755, exist_ok=True)
    elif type_ == "FileOrCreate" and not os.path.lexists(path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise VolumeError(f"hostPath type check failed: {path} does not exist") from None
    if type_ and not _TYPES[type_][0](mode):
        raise VolumeError(f"hostPath type check failed: {path} is not {_TYPES[type_][1]}")
