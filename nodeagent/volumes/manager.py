"""Volumes of one pod on the host: emptyDir, hostPath, configMap and secret.

Secrets and memory volumes live on tmpfs, so that they never reach the disk. All of it lies below the pod's folder,
and teardown unmounts before it deletes, so that nothing of the host is ever deleted through a mount.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nodeagent.runtime.native import syscalls
from nodeagent.volumes.projection import File, write
from pinnace import quantity

# Answers for a ConfigMap or Secret of the pod's namespace by kind and name; None when there is none.
Lookup = Callable[[str, str], Any | None]
_TMPFS = syscalls.MS_NOSUID | syscalls.MS_NODEV


class VolumeError(Exception):
    """A volume cannot be made now; the text is for people. It is tried again."""


def prepare(folder: Path, pod: Any, lookup: Lookup) -> dict[str, str]:
    """Make or refresh every volume; returns name to host path. Raises VolumeError."""
    paths = {}
    for volume in pod.spec.volumes:
        try:
            paths[volume.name] = _prepare(folder / volume.name, volume.volumeSource, lookup)
        except OSError as error:
            raise VolumeError(f'volume "{volume.name}": {error.strerror or error}') from error
        except VolumeError as error:
            raise VolumeError(f'volume "{volume.name}": {error}') from None
    return paths


def refresh(folder: Path, pod: Any, lookup: Lookup) -> None:
    """Bring ConfigMap and Secret volumes up to date; what is missing now stays as it was."""
    for volume in pod.spec.volumes:
        source = volume.volumeSource
        if (source.HasField("configMap") or source.HasField("secret")) and (folder / volume.name).exists():
            with contextlib.suppress(OSError, VolumeError):
                _prepare(folder / volume.name, source, lookup)


def _prepare(path: Path, source: Any, lookup: Lookup) -> str:
    if source.HasField("hostPath"):
        _host_path(source.hostPath.path, source.hostPath.type if source.hostPath.HasField("type") else "")
        return str(source.hostPath.path)
    if source.HasField("configMap"):
        item = source.configMap
        files = _files("ConfigMap", item.localObjectReference.name, item, lookup)
        _make(path, "")
        write(path, files)
    elif source.HasField("secret"):
        files = _files("Secret", source.secret.secretName, source.secret, lookup)
        _make(path, "size=4m")
        write(path, files)
    else:
        options = ""
        if source.emptyDir.medium == "Memory":
            limit = source.emptyDir.sizeLimit.string
            options = f"size={quantity.units(limit)}" if limit else "size=50%"
        if _make(path, options):
            os.chmod(path, 0o777)
    return str(path)


def _make(path: Path, tmpfs: str) -> bool:
    """A folder, on tmpfs when options are given; returns whether it was made now."""
    path.mkdir(parents=True, exist_ok=True, mode=0o755)
    marker = path.parent / f".{path.name}.made"
    if tmpfs and not os.path.ismount(path):
        syscalls.mount("tmpfs", path, "tmpfs", _TMPFS, f"mode=755,{tmpfs}")
    elif marker.exists():
        return False
    marker.touch()
    return True


def _files(kind: str, name: str, source: Any, lookup: Lookup) -> dict[str, File]:
    found = lookup(kind, name)
    if found is None:
        if source.optional:
            return {}
        raise VolumeError(f'{kind.lower()} "{name}" not found')
    content = {key: value.encode() if isinstance(value, str) else value for key, value in found.data.items()}
    content |= dict(getattr(found, "binaryData", {}))
    mode = source.defaultMode if source.HasField("defaultMode") else 0o644
    if not source.items:
        return {key: File(value, mode) for key, value in content.items()}
    files = {}
    for item in source.items:
        if item.key in content:
            files[item.path] = File(content[item.key], item.mode if item.HasField("mode") else mode)
        elif not source.optional:
            raise VolumeError(f'{kind.lower()} "{name}" has no key "{item.key}"')
    return files


def _host_path(path: str, type_: str) -> None:
    if type_ == "DirectoryOrCreate":
        os.makedirs(path, 0o755, exist_ok=True)
    elif type_ == "FileOrCreate" and not os.path.exists(path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise VolumeError(f"hostPath {path} does not exist") from None
    checks = {
        "Directory": stat.S_ISDIR, "DirectoryOrCreate": stat.S_ISDIR, "File": stat.S_ISREG, "FileOrCreate": stat.S_ISREG,
        "Socket": stat.S_ISSOCK, "CharDevice": stat.S_ISCHR, "BlockDevice": stat.S_ISBLK,
    }  # fmt: skip
    if type_ and not checks[type_](mode):
        raise VolumeError(f"hostPath {path} is not of type {type_}")


def remove(folder: Path) -> None:
    """Unmount and delete all volumes of a pod. Raises OSError when something is still mounted."""
    if not folder.exists():
        return
    for entry in os.scandir(folder):
        while os.path.ismount(entry.path):
            syscalls.umount(entry.path, syscalls.MNT_DETACH)
    shutil.rmtree(folder)
