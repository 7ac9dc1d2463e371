"""Volumes that lie outside of their pod's directory: hostPath, local and NFS, named by the pod or by the volume of a claim.

Their targets may be anywhere and may not answer: only `check` accesses them. Everything else here is pure.
Source: kubelet's desired_state_of_world_populator.go, and its plugins local and nfs.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodeagent.linux import mountinfo
from nodeagent.volumes import hostpath, nfs, ownership
from nodeagent.volumes.content import Lookup, VolumeError
from pinnace import formats, persistentvolumes
from pinnace.persistentvolumes import BLOCK, PodClaim


@dataclass(frozen=True, slots=True)
class External:
    """`source`: a HostPath-, Local- or NFSVolumeSource. `made`: the name of a local volume that the agent makes for a claim."""

    volume: str
    source: Any
    read_only: bool = False
    options: tuple[str, ...] = ()
    made: str = ""

    @property
    def is_nfs(self) -> bool:
        return bool(self.source.DESCRIPTOR.name == "NFSVolumeSource")

    @property
    def is_local(self) -> bool:
        return bool(self.source.DESCRIPTOR.name == "LocalVolumeSource")

    def path(self, folder: Path) -> str:
        """Where it is on the node; `folder` holds the pod's volumes."""
        return str(folder / self.volume) if self.is_nfs else hostpath.on_node(self.source.path)

    def owner(self, folder: Path, mounted: list[mountinfo.Mount]) -> str:
        """The server or directory that must answer for it."""
        if self.is_nfs:
            return f"server {self.source.server}"
        path = self.path(folder)
        return mountinfo.answering(path, mounted) or path


@contextlib.contextmanager
def naming(volume: str) -> Iterator[None]:
    """Errors as VolumeError, in kubelet's words."""
    prefix = f'MountVolume.SetUp failed for volume "{volume}" :'
    try:
        yield
    except OSError as error:
        raise VolumeError(f"{prefix} {error.strerror or error}") from error
    except VolumeError as error:
        raise VolumeError(f"{prefix} {error}") from None


def of(pod: Any, lookup: Lookup) -> list[External]:
    """Those of a pod. Raises VolumeError for a claim that is not bound."""
    claims = {claim.volume: claim for claim in persistentvolumes.claims_of(pod)}
    found = []
    for volume in pod.spec.volumes:
        source = volume.volumeSource
        if source.HasField("hostPath"):
            found.append(External(volume.name, source.hostPath))
        elif source.HasField("nfs"):
            found.append(External(volume.name, source.nfs, source.nfs.readOnly))
        elif volume.name in claims:
            with naming(volume.name):
                found.append(_claimed(claims[volume.name], pod, lookup))
    return found


def _claimed(claim: PodClaim, pod: Any, lookup: Lookup) -> External:
    """Raises VolumeError."""
    namespace = pod.metadata.namespace
    found = lookup("PersistentVolumeClaim", claim.name)
    if found is None:
        raise VolumeError(f'error processing PVC {namespace}/{claim.name}: persistentvolumeclaim "{claim.name}" not found')
    if claim.ephemeral and not persistentvolumes.is_owned_by(found, pod):
        owner = f"{namespace}/{pod.metadata.name}"
        raise VolumeError(f"PVC {namespace}/{claim.name} was not created for pod {owner} (pod is not owner)")
    if found.status.phase != persistentvolumes.BOUND or not found.spec.volumeName:
        raise VolumeError(f"error processing PVC {namespace}/{claim.name}: PVC is not bound")
    volume = lookup("PersistentVolume", found.spec.volumeName)
    if volume is None:
        raise VolumeError(f'persistentvolume "{found.spec.volumeName}" not found')
    if volume.spec.claimRef.uid != found.metadata.uid:
        text = f'found PV object "{volume.metadata.name}" with an unexpected pvcUID "{volume.spec.claimRef.uid}"'
        raise VolumeError(f'{text}, expected "{found.metadata.uid}"')
    if volume.spec.volumeMode == BLOCK:
        raise VolumeError(f"volume {claim.volume} has volumeMode Block, which Pinnace does not mount")
    return _of_volume(claim, volume)


def _of_volume(claim: PodClaim, volume: Any) -> External:
    """Raises VolumeError."""
    source = volume.spec.persistentVolumeSource
    if source.HasField("nfs"):
        options = tuple(volume.spec.mountOptions)
        return External(claim.volume, source.nfs, claim.read_only or source.nfs.readOnly, options)
    if source.HasField("local"):
        made = volume.metadata.name if persistentvolumes.is_local_path(volume) else ""
        return External(claim.volume, source.local, claim.read_only, made=made)
    if source.HasField("hostPath"):
        return External(claim.volume, source.hostPath, claim.read_only)
    raise VolumeError("no volume plugin matched")


def check(item: External, folder: Path, made_in: Path | None, pod: Any) -> None:
    """Make the directory or mount the export, as the volume requires. May block. Raises VolumeError, OSError.

    `made_in`: the directory of local volumes that this agent makes."""
    path = item.path(folder)
    if item.is_nfs:
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        nfs.mount(Path(path), item.source, item.options, read_only=item.read_only)
    elif item.is_local:
        if item.made:
            _make(item.made, path, made_in)
        _check_local(path)
        _give(item, folder, path, pod)
    else:
        hostpath.check(path, item.source.type)


def is_made_at(path: str, name: str, made_in: Path) -> bool:
    """Whether a path is that of the local volume `name` in the directory of such volumes, and no other directory's."""
    return path == f"{made_in}/{name}" and not any(formats.dns_subdomain(name))


def _make(name: str, path: str, made_in: Path | None) -> None:
    """A directory for every user, in one that is root's alone. Raises VolumeError, OSError."""
    if made_in is None or not is_made_at(path, name, made_in):
        raise VolumeError(f"{path} is not where this node makes local volumes")
    made_in.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
        # Whatever the umask; a directory that is there has the mode that its users have given it.
        os.chmod(path, 0o777)


def _check_local(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise VolumeError(f'path "{path}" does not exist') from None
    if not stat.S_ISDIR(mode):
        raise VolumeError(f'path "{path}" is not a directory')


def _give(item: External, folder: Path, path: str, pod: Any) -> None:
    """To the pod's fsGroup, once for each pod."""
    context = pod.spec.securityContext
    marker = folder / f".{item.volume}.given"
    if not context.HasField("fsGroup") or item.read_only or marker.exists():
        return
    ownership.give(Path(path), int(context.fsGroup), on_root_mismatch=context.fsGroupChangePolicy == "OnRootMismatch")
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    marker.touch()
