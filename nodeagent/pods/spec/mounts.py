"""What is mounted into a container: the pod's files below /etc, its volumes, and the file for its last words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nodeagent.pods.spec import etcfiles
from nodeagent.pods.spec.environment import ConfigError, expand_path
from nodeagent.runtime.interface import Mount
from nodeagent.volumes.manager import Volume
from nodeagent.volumes.mountpoints import absolute


def mounts_of(
    container: Any, *, pod_folder: Path, message: Path, volumes: Mapping[str, Volume], variables: Mapping[str, str]
) -> list[Mount]:
    """In the order to make them. `variables` are what a subPathExpr sees. Raises ConfigError."""
    mounts = [_volume(item, volumes, variables) for item in container.volumeMounts]
    taken = {mount.target for mount in mounts}
    # A volume of the pod's own at one of these paths takes its place.
    files = [Mount(str(pod_folder / name), target) for name, target in etcfiles.TARGETS.items() if target not in taken]
    last = Mount(str(message), absolute(container.terminationMessagePath or "/dev/termination-log"))
    # Shallow before deep, so that a mount below another one's target is not hidden by it.
    return sorted([*files, *mounts, last], key=lambda mount: mount.target.count("/"))


def _volume(item: Any, volumes: Mapping[str, Volume], variables: Mapping[str, str]) -> Mount:
    volume = volumes.get(item.name)
    if volume is None:
        raise ConfigError(f'volume "{item.name}" does not exist')
    read_only = item.readOnly or volume.read_only
    return Mount(
        volume.path,
        absolute(item.mountPath),
        read_only,
        sub_path=expand_path(item.subPathExpr, variables) if item.subPathExpr else item.subPath,
        # Every kernel that Pinnace runs on can (mount_setattr), so that IfPossible is Enabled.
        recursive_read_only=read_only and item.recursiveReadOnly in ("Enabled", "IfPossible"),
        propagation=item.mountPropagation or "None",
        idmap=volume.idmap,
    )
