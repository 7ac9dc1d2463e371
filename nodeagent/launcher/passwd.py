"""HOME of a container's user, by the /etc/passwd that the container sees: the image's, or a volume's in its place.

Read for each process that is started, as runc does: an entrypoint may have added its own user.
"""

from __future__ import annotations

import os
import stat

from nodeagent.linux import syscalls as sc

# Bytes that are read of a file that is the container's.
MAX_BYTES = 1 << 20
# Without an entry.
_DEFAULT = b"/"


def home(uid: int) -> str:
    """The directory of the first entry for a user ID, "/" without one. The root of this process is the container's."""
    wanted = b"%d" % uid
    for line in _read().split(b"\n"):
        fields = line.split(b":")
        if len(fields) > 5 and fields[2] == wanted:
            return os.fsdecode(fields[5].strip() or _DEFAULT)
    return os.fsdecode(_DEFAULT)


def _read() -> bytes:
    """No link of the kernel's is followed (/proc/self/fd: this process is not yet the container's), and no pipe waited for."""
    root = fd = -1
    try:
        root = os.open("/", sc.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        fd = sc.openat2(root, "etc/passwd", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        data = b""
        if stat.S_ISREG(os.fstat(fd).st_mode):
            while len(data) < MAX_BYTES and (chunk := os.read(fd, MAX_BYTES - len(data))):
                data += chunk
        return data
    except OSError:
        return b""
    finally:
        for opened in (root, fd):
            if opened >= 0:
                os.close(opened)
