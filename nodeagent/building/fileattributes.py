"""Owner, mode and times that copied files get."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass

from nodeagent.building.chmod import ModeChange

_CAPABILITY = "security.capability"


@dataclass(frozen=True, slots=True)
class FileAttributes:
    """`owner` is uid and gid, `mode` the change of every copied file's; None keeps what the source has.

    Directories that are made on the way to a target belong to the owner, else to root.
    """

    owner: tuple[int, int] | None = (0, 0)
    mode: ModeChange | None = None

    @property
    def mode_of_parents(self) -> int:
        return 0o755 if self.mode is None else self.mode.of_parents

    def owner_of(self, status: os.stat_result) -> tuple[int, int]:
        return self.owner or (status.st_uid, status.st_gid)

    def mode_of(self, status: os.stat_result) -> int:
        return stat.S_IMODE(status.st_mode) if self.mode is None else self.mode.apply(status.st_mode)

    def set_on(self, name: str, directory: int, status: os.stat_result) -> None:
        """On `name` in `directory`, which is a copy of what has `status`; not for symlinks. Raises OSError."""
        os.chown(name, *self.owner_of(status), dir_fd=directory, follow_symlinks=False)
        os.chmod(name, self.mode_of(status), dir_fd=directory)
        os.utime(name, ns=(status.st_mtime_ns, status.st_mtime_ns), dir_fd=directory)

    def set_on_file(self, copied: int, source: int) -> None:
        """On the open file `copied`, a copy of `source`. Raises OSError."""
        status = os.fstat(source)
        os.fchown(copied, *self.owner_of(status))
        # After the owner, whose change clears setuid bits and capabilities.
        os.fchmod(copied, self.mode_of(status))
        with contextlib.suppress(OSError):
            os.setxattr(copied, _CAPABILITY, os.getxattr(source, _CAPABILITY))
        os.utime(copied, ns=(status.st_mtime_ns, status.st_mtime_ns))


BY_ROOT = FileAttributes()
