"""Image volumes: the content of an image, read-only, as an overlay of its layers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nodeagent.linux import syscalls
from nodeagent.volumes.content import VolumeError

_FLAGS = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV


def missing(folder: Path, pod: Any) -> dict[str, Any]:
    """The image volumes of a pod that are not mounted yet: their sources (reference, pullPolicy) by name."""
    return {
        volume.name: volume.volumeSource.image
        for volume in pod.spec.volumes
        if volume.volumeSource.HasField("image") and not os.path.ismount(folder / volume.name)
    }


def mount(path: Path, layers: Sequence[str]) -> None:
    """Mount layers, the topmost first, on a folder; what is mounted stays. Raises VolumeError, OSError."""
    if os.path.ismount(path):
        return
    if not layers:
        raise VolumeError("its image is not on this node")
    # An overlay without a writable layer needs two folders: an empty one lies below the layers.
    empty = path.parent / f".{path.name}.empty"
    empty.mkdir(mode=0o755, exist_ok=True)
    path.mkdir(mode=0o755, exist_ok=True)
    options = f"lowerdir={':'.join((*layers, str(empty)))}"
    if len(options) >= 4095:
        raise VolumeError("the image has more layers than one overlay mount can name")
    syscalls.mount("overlay", path, "overlay", _FLAGS, options)
