"""Volumes of one pod on the host.

Secrets and memory volumes live on tmpfs, so that they never reach the disk. All of it lies below the pod's folder,
and teardown unmounts before it deletes, so that nothing of the host is ever deleted through a mount.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodeagent.linux import mountinfo, syscalls
from nodeagent.volumes import atomicwriter, content, emptydir, external, imagevolume, mountpoints, ownership
from nodeagent.volumes.content import Known, Lookup, VolumeError
from nodeagent.volumes.external import External
from pinnace import podtokens

_TMPFS = syscalls.MS_NOSUID | syscalls.MS_NODEV


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume that is there. `read_only`: no container may write, whatever its mount says. `idmap`: can be id-mapped."""

    path: str
    read_only: bool = False
    idmap: bool = True


class PodVolumes:
    """The volumes of one pod below `folder`. Methods block, and may be called from any thread."""

    def __init__(
        self, folder: Path, lookup: Lookup, facts: dict[str, str], files: Sequence[str] = (), made_in: Path | None = None
    ) -> None:  # fmt: skip
        """`files` are paths at which every container has a file of the pod's, such as /etc/hosts; `made_in` is the directory of
        local volumes that are made for claims."""
        self._folder = folder
        self._files = files
        self._made_in = made_in
        # By name, as `prepare` made them last.
        self._made: dict[str, Volume] = {}
        # By volume outside and subPath: whether a file is there.
        self._host_files: dict[tuple[str, str], bool] = {}
        self._lookup = lookup
        self._facts = facts
        # One writer at a time: a refresh may come while the volumes are still being made.
        self._lock = threading.Lock()
        self._preparing = threading.Lock()

    def missing_images(self, pod: Any) -> dict[str, Any]:
        """What `prepare` wants the layers of: the sources of image volumes that are not mounted yet, by name."""
        return imagevolume.missing(self._folder, pod)

    def shown_tokens(self, pod: Any) -> dict[str, str]:
        """By `podtokens.key`: the tokens of an earlier agent. None after a reboot, which leaves no tmpfs."""
        found = {}
        for volume, source in podtokens.projections(pod):
            path = self._folder / volume
            with contextlib.suppress(OSError, UnicodeDecodeError):
                if os.path.ismount(path):
                    found[podtokens.key(source)] = atomicwriter.read(path, posixpath.normpath(source.path)).decode("ascii")
        return found

    def prepare(self, pod: Any, layers: Mapping[str, Sequence[str]]) -> dict[str, Volume]:
        """Make or refresh every volume, by name; `check` has seen those outside. `layers` are those of image volumes.
        Raises VolumeError."""
        with self._claimed(), self._lock:
            return self._prepare_all(pod, layers)

    @contextlib.contextmanager
    def _claimed(self) -> Iterator[None]:
        """One call of `prepare` at a time: each retry of one that hangs would cost another thread. Raises VolumeError."""
        if not self._preparing.acquire(blocking=False):
            raise VolumeError("the node's file system has not answered an earlier attempt")
        try:
            yield
        finally:
            self._preparing.release()

    @property
    def folder(self) -> Path:
        return self._folder

    def external(self, pod: Any) -> list[External]:
        """The volumes that `check` must have seen before `prepare`. Raises VolumeError for a claim that is not bound."""
        return external.of(pod, self._lookup)

    def check(self, item: External, pod: Any) -> None:
        """Have a volume there that lies outside, and see what of it is mounted in volumes that show files. It may hang, and it
        alone asks the volume. Raises VolumeError."""
        path = item.path(self._folder)
        with external.naming(item.volume):
            external.check(item, self._folder, self._made_in, pod)
        for mount in self._nested_mounts(item.volume, pod):
            self._host_files[item.volume, mount.subPath] = mountpoints.shows_file(path, mount.subPath)

    def unchecked(self, pod: Any) -> list[External]:
        """Those of which more is mounted than `check` has seen: an ephemeral container was added. Raises VolumeError."""
        known = self._host_files
        return [
            item
            for item in self.external(pod)
            if any((item.volume, mount.subPath) not in known for mount in self._nested_mounts(item.volume, pod))
        ]

    def _nested_mounts(self, name: str, pod: Any) -> list[Any]:
        """The mounts of a volume that are in other volumes, which show files."""
        showing = [volume.name for volume in pod.spec.volumes if content.shows_files(volume.volumeSource)]
        points = (point for volume in showing for point in mountpoints.nested(volume, pod, self._files))
        return [point.mount for point in points if point.mount is not None and point.mount.name == name]

    def _prepare_all(self, pod: Any, layers: Mapping[str, Sequence[str]]) -> dict[str, Volume]:
        outside = {item.volume: item for item in self.external(pod)}
        self._made = {
            volume.name: _outside(outside[volume.name], self._folder)
            if volume.name in outside
            else self._named(volume, pod, layers.get(volume.name, ()))
            for volume in pod.spec.volumes
        }
        # Once all are there: what is mounted in one may be a file of another.
        for volume in pod.spec.volumes:
            self._make_mount_points(volume, pod)
        return self._made

    def refresh(self, pod: Any) -> None:
        """Bring files up to date with what they show; what is missing now stays as it was."""
        with self._lock:
            for volume in pod.spec.volumes:
                if content.shows_files(volume.volumeSource) and (self._folder / volume.name).exists():
                    with contextlib.suppress(OSError, VolumeError):
                        self._prepare(volume, pod)
                        self._make_mount_points(volume, pod)

    def _make_mount_points(self, volume: Any, pod: Any) -> None:
        """In a volume that shows files. Raises VolumeError."""

        outside: set[str] = set()

        def is_file(mount: Any) -> bool:
            if mount.name in outside:
                return self._host_files.get((mount.name, mount.subPath), False)
            return mount.name in self._made and mountpoints.shows_file(self._made[mount.name].path, mount.subPath)

        points = mountpoints.nested(volume.name, pod, self._files) if content.shows_files(volume.volumeSource) else []
        try:
            if points:
                outside.update(item.volume for item in self.external(pod))
                mountpoints.make(str(self._folder / volume.name), points, is_file)
        except OSError as error:
            text = f'mount points in volume "{volume.name}" cannot be made: {error.strerror or error}'
            raise VolumeError(text) from error

    def _named(self, volume: Any, pod: Any, layers: Sequence[str]) -> Volume:
        with external.naming(volume.name):
            return self._prepare(volume, pod, layers)

    def _prepare(self, volume: Any, pod: Any, layers: Sequence[str] = ()) -> Volume:
        path, source = self._folder / volume.name, volume.volumeSource
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        if source.HasField("image"):
            imagevolume.mount(path, layers)
            return Volume(str(path), read_only=True, idmap=False)
        if content.shows_files(source):
            # First, so that nothing is made for a volume that cannot be.
            files = content.files_of(source, Known(pod, self._lookup, self._facts))
            self._make_files(path, source, group(pod))
            hidden = frozenset(point.top for point in mountpoints.nested(volume.name, pod, self._files))
            atomicwriter.write(path, files, group(pod), hidden)
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


def _outside(item: External, folder: Path) -> Volume:
    return Volume(item.path(folder), read_only=item.read_only)


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


def unmount(folder: Path) -> None:
    """Unmount all volumes of a pod; then they may be deleted. Raises OSError."""
    # The deepest first. A container may have mounted something in a volume, which mountPropagation brought here.
    for path in sorted(_mounts(folder), key=lambda path: path.count("/"), reverse=True):
        syscalls.umount(path, syscalls.MNT_DETACH)


def _mounts(folder: Path) -> list[str]:
    """The mount points below a folder, each as often as something is mounted there."""
    prefix = f"{os.path.realpath(folder)}/"
    return [mount.point for mount in mountinfo.mounts() if mount.point.startswith(prefix)]
