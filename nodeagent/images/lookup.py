"""One file of an image, found as the kernel finds it in an overlay of the layers, without a mount.

A start needs a few small files (/etc/passwd, /etc/group), and a mount for each would cost more than the start's other
reads together. Pure but for reading the layers, which never change. Source: the kernel's overlayfs documentation
("Whiteouts and opaque directories").
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

# As many as Linux follows in one path (MAXSYMLINKS).
MAX_LINKS = 40
_OPAQUE = "trusted.overlay.opaque"


def open_file(layers: Sequence[str], path: str) -> int:
    """A descriptor of a regular file below `layers` (directories, the topmost first), for reading.

    Links are followed inside of the merged tree, whichever layer they lead to. Raises OSError.
    """
    # Each ancestor is a name with the layers that show it as a directory. Their paths hold no link: each part was looked at.
    ancestors: list[tuple[str, tuple[str, ...]]] = []
    waiting, links = path.split("/")[::-1], 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            del ancestors[-1:]
        if part in ("", ".", ".."):
            continue
        showing = ancestors[-1][1] if ancestors else tuple(layers)
        place = "/".join([*(name for name, _ in ancestors), part])
        found = _look(showing, place)
        if not found:
            raise FileNotFoundError(errno.ENOENT, "no such file in the image", path)
        mode = os.lstat(f"{found[0]}/{place}").st_mode
        if stat.S_ISLNK(mode):
            target, links = os.readlink(f"{found[0]}/{place}"), links + 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, "more links than a path may have", path)
            ancestors = [] if target.startswith("/") else ancestors
            waiting += target.split("/")[::-1]
        elif stat.S_ISDIR(mode):
            ancestors.append((part, found))
        elif not stat.S_ISREG(mode) or any(name not in ("", ".") for name in waiting):
            raise NotADirectoryError(errno.ENOTDIR, "not a regular file of the image", path)
        else:
            return os.open(f"{found[0]}/{place}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    raise IsADirectoryError(errno.EISDIR, "a directory of the image", path)


def _look(layers: Sequence[str], place: str) -> tuple[str, ...]:
    """The layers that show `place`: one for what is no directory, else all whose directories are merged; none for nothing."""
    showing: list[str] = []
    for layer in layers:
        try:
            status = os.lstat(f"{layer}/{place}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not stat.S_ISDIR(status.st_mode):
            whiteout = stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
            return tuple(showing) if showing or whiteout else (layer,)
        showing.append(layer)
        if _is_opaque(f"{layer}/{place}"):
            break
    return tuple(showing)


def _is_opaque(path: str) -> bool:
    try:
        return os.getxattr(path, _OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False
