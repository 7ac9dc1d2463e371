"""Image volumes: the content of an image, read-only, as an overlay of its layers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nodeagent.images.store import ImageNotFound, ImageStore
from nodeagent.runtime.native import syscalls
from nodeagent.volumes.content import VolumeError

_FLAGS = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV


def references(pod: Any) -> list[tuple[str, str]]:
    """Image and pull policy of every image volume of a pod."""
    sources = [volume.volumeSource.image for volume in pod.spec.volumes if volume.volumeSource.HasField("image")]
    return [(source.reference, source.pullPolicy) for source in sources]


def mount(path: Path, reference: str, images: ImageStore) -> None:
    """Mount the image on a folder; what is mounted stays. Raises VolumeError, OSError."""
    if os.path.ismount(path):
        return
    try:
        layers = images.lower_dirs(images.find(reference))
    except ImageNotFound:
        raise VolumeError(f'image "{reference}" is not on this node') from None
    # An overlay without a writable layer needs two folders: an empty one lies below the layers.
    empty = path.parent / f".{path.name}.empty"
    empty.mkdir(mode=0o755, exist_ok=True)
    path.mkdir(mode=0o755, exist_ok=True)
    options = f"lowerdir={':'.join((*layers, str(empty)))}"
    if len(options) >= 4095:
        raise VolumeError("the image has more layers than one overlay mount can name")
    syscalls.mount("overlay", path, "overlay", _FLAGS, options)
