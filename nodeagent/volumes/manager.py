"""Volumes of one pod on the host.

Secrets and memory volumes live on tmpfs, so that they never reach the disk. All of it lies below the pod's folder,
and teardown unmounts before it deletes, so that nothing of the host is ever deleted through a mount.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodeagent import trees
from nodeagent.runtime.native import syscalls
from nodeagent.volumes import atomicwriter, content, emptydir, hostpath, imagevolume, ownership
from nodeagent.volumes.content import Known, Lookup, VolumeError

# How mountinfo writes spaces and the like.
_OCTAL = re.compile(rb"\\([0-7]{3})")
_TMPFS = syscalls.MS_NOSUID | syscalls.MS_NODEV


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume that is there. `read_only`: no container may write, whatever its mount says. `idmap`: can be id-mapped."""

    path: str
    read_only: bool = False
    idmap: bool = True


class PodVolumes:
    """The volumes of one pod below `folder`. Methods block, and may be called from any thread."""

    def __init__(self, folder: Path, lookup: Lookup, facts: dict[str, str]) -> None:
        self._folder = folder
        self._lookup = lookup
        self._facts = facts
        # One writer at a time: a refresh may come while the volumes are still being made.
        self._lock = threading.Lock()

    def missing_images(self, pod: Any) -> dict[str, Any]:
        """What `prepare` wants the layers of: the sources of image volumes that are not mounted yet, by name."""
        return imagevolume.missing(self._folder, pod)

    def prepare(self, pod: Any, layers: Mapping[str, Sequence[str]]) -> dict[str, Volume]:
        """Make or refresh every volume, by name. `layers` are those of image volumes. Raises VolumeError."""
        with self._lock:
            return {volume.name: self._named(volume, pod, layers.get(volume.name, ())) for volume in pod.spec.volumes}

    def refresh(self, pod: Any) -> None:
        """Bring files up to date with what they show; what is missing now stays as it was."""
        with self._lock:
            for volume in pod.spec.volumes:
                if content.shows_files(volume.volumeSource) and (self._folder / volume.name).exists():
                    with contextlib.suppress(OSError, VolumeError):
                        self._prepare(volume, pod)

    def _named(self, volume: Any, pod: Any, layers: Sequence[str]) -> Volume:
        prefix = f'MountVolume.SetUp failed for volume "{volume.name}" :'
        try:
            return self._prepare(volume, pod, layers)
        except OSError as error:
            raise VolumeError(f"{prefix} {error.strerror or error}") from error
        except VolumeError as error:
            raise VolumeError(f"{prefix} {error}") from None

    def _prepare(self, volume: Any, pod: Any, layers: Sequence[str] = ()) -> Volume:
        path, source = self._folder / volume.name, volume.volumeSource
        if source.HasField("hostPath"):
            hostpath.check(source.hostPath.path, source.hostPath.type)
            return Volume(source.hostPath.path)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        if source.HasField("image"):
            imagevolume.mount(path, layers)
            return Volume(str(path), read_only=True, idmap=False)
        if content.shows_files(source):
            # First, so that nothing is made for a volume that cannot be.
            files = content.files_of(source, Known(pod, self._lookup, self._facts))
            self._make_files(path, source, group(pod))
            atomicwriter.write(path, files, group(pod))
            return Volume(str(path), read_only=True)
        self._make_empty(path, source.emptyDir, pod)
        return Volume(str(path))

    def _make_files(self, path: Path, source: Any, owner: int | None) -> None:
        size = content.secret_bytes(source)
        with _making(path, f"size={size}" if size else "") as missing:
            if missing and owner is not None:
                ownership.give(path, owner, read_only=True)

    def _make_empty(self, path: Path, source: Any, pod: Any) -> None:
        memory = source.medium == "Memory"
        owner, lazy = group(pod), pod.spec.securityContext.fsGroupChangePolicy == "OnRootMismatch"
        with _making(path, f"size={emptydir.memory_size(pod, source, self._facts)}" if memory else "") as missing:
            if missing:
                os.chmod(path, source.mode if source.HasField("mode") else 0o777)
                if owner is not None:
                    ownership.give(path, owner, on_root_mismatch=lazy)


def group(pod: Any) -> int | None:
    """The pod's fsGroup. In a user namespace too: files hold the ids that the containers see."""
    context = pod.spec.securityContext
    return int(context.fsGroup) if context.HasField("fsGroup") else None


@contextlib.contextmanager
def _making(path: Path, tmpfs: str) -> Iterator[bool]:
    """A folder, on tmpfs when options are given. Yields whether it is still to be set up; it is whole after the block."""
    marker = path.parent / f".{path.name}.made"
    mounted = os.path.ismount(path)
    missing = not marker.exists() or (bool(tmpfs) and not mounted)
    path.mkdir(exist_ok=True, mode=0o755)
    if tmpfs and not mounted:
        syscalls.mount("tmpfs", path, "tmpfs", _TMPFS, f"mode=755,{tmpfs}")
    yield missing
    marker.touch()


def remove(folder: Path) -> None:
    """Unmount and delete all volumes of a pod. Raises OSError when something is still mounted."""
    # The deepest first. A container may have mounted something in a volume, which mountPropagation brought here.
    for path in sorted(_mounts(folder), key=lambda path: path.count("/"), reverse=True):
        syscalls.umount(path, syscalls.MNT_DETACH)
    trees.remove(folder)


def _mounts(folder: Path) -> list[str]:
    """The mount points below a folder, each as often as something is mounted there (proc(5), mountinfo)."""
    prefix = f"{os.path.realpath(folder)}/"
    lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    points = (os.fsdecode(_OCTAL.sub(lambda match: bytes([int(match[1], 8)]), line.split()[4])) for line in lines)
    return [point for point in points if point.startswith(prefix)]
