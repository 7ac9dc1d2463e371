"""NFS exports, by the system call mount(2): no helper program and no shell.

The kernel is given what mount.nfs would give it: the server's address, and a version, the newest first unless the options name
one. A server that does not answer blocks the call, whose thread and deadline are the caller's.
Source: nfs(5), and the kernel's fs/nfs/fs_context.c.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nodeagent.linux import mountinfo, syscalls
from nodeagent.volumes.content import VolumeError

VERSIONS = ("4.2", "4.1", "4.0", "3")
# Options that are flags of the mount, by the bit that they set; 0 for defaults.
_FLAGS = {
    "ro": syscalls.MS_RDONLY, "rw": 0, "nosuid": syscalls.MS_NOSUID, "suid": 0, "nodev": syscalls.MS_NODEV, "dev": 0,
    "noexec": syscalls.MS_NOEXEC, "exec": 0, "noatime": 1 << 10, "nodiratime": 1 << 11, "relatime": 1 << 21, "defaults": 0,
}  # fmt: skip
# Options that Pinnace sets itself, or that would change the kind of mount.
_RESERVED = ("addr", "clientaddr", "bind", "rbind", "remount", "move")
# The server does not have this version, or the kernel does not.
_NEXT_VERSION = (errno.EPROTONOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP, errno.EPFNOSUPPORT)


def mount(path: Path, source: Any, options: Sequence[str], *, read_only: bool) -> None:
    """Mount an export on a directory, unless it is mounted already. Raises VolumeError, OSError."""
    if any(item.point == os.path.realpath(path.parent) + f"/{path.name}" for item in mountinfo.mounts()):
        return
    flags, own = parse(options, read_only=read_only)
    address, local = _addresses(source.server)
    path.mkdir(mode=0o755, exist_ok=True)
    error = OSError(errno.EPROTONOSUPPORT, "the server has no version of NFS that this node has")
    for data in attempts(own, address, local):
        try:
            syscalls.mount(f"{_bracketed(source.server)}:{source.path}", path, "nfs", flags, data)
            return
        except OSError as failure:
            if failure.errno == errno.ENODEV:
                raise VolumeError("the kernel of this node has no NFS client (module nfs)") from None
            error = failure
            if failure.errno not in _NEXT_VERSION:
                break
    raise VolumeError(f"mount failed: {source.server}:{source.path}: {os.strerror(error.errno or 0)}")


def parse(options: Sequence[str], *, read_only: bool) -> tuple[int, tuple[str, ...]]:
    """Flags of the mount, and the options that are NFS' own. Raises VolumeError."""
    flags, own = syscalls.MS_RDONLY if read_only else 0, []
    for option in (part for text in options for part in text.split(",") if part):
        name = option.partition("=")[0]
        if name in _RESERVED or not option.isascii() or not option.isprintable():
            raise VolumeError(f'mount option "{option[:100]}" is not allowed')
        if option in _FLAGS:
            flags |= _FLAGS[option]
        else:
            own.append(option)
    return flags, tuple(own)


def attempts(own: Sequence[str], address: str, local: str) -> Iterator[str]:
    """The data of each call until one succeeds. Pure."""
    stated = any(option.partition("=")[0] in ("vers", "nfsvers") for option in own)
    for version in ("",) if stated else VERSIONS:
        wanted = [f"vers={version}"] if version else []
        # Of the server for version 3, of this node for the callbacks of version 4.
        callback = [] if version == "3" or (stated and _is_three(own)) else [f"clientaddr={local}"]
        yield ",".join([*wanted, *own, *callback, f"addr={address}"])


def _is_three(own: Sequence[str]) -> bool:
    return any(option in ("vers=3", "nfsvers=3") for option in own)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _addresses(server: str) -> tuple[str, str]:
    """The server's address, and this node's towards it. Raises VolumeError."""
    try:
        family, _, _, _, place = socket.getaddrinfo(server.strip("[]"), 2049, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(place)
            return str(place[0]), str(probe.getsockname()[0])
    except (OSError, UnicodeError) as error:
        raise VolumeError(f"cannot resolve or reach NFS server {server[:253]}: {error}") from None
