"""Which images the pods of this node name or run: what garbage collection and `kctl image rm` must leave alone."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nodeagent.images.store import Image, ImageStore
from nodeagent.launcher import bundle as names
from nodeagent.pods.manager import PodManager
from nodeagent.pods.model import ObservedState


class ImageUsage:
    """`folder` has the folder of every pod."""

    def __init__(self, pods: PodManager, images: ImageStore, folder: Path) -> None:
        self._pods = pods
        self._images = images
        self._folder = folder

    def users(self) -> dict[str, str]:
        """Ids of images in use, each with who uses it: `pod default/web`."""
        images = self._images.all()
        found = holders(((worker.pod, worker.observed) for worker in self._pods.workers.values()), images)
        # What the disk and the kernel say holds too: a name may have moved since a container was begun or a volume
        # mounted, and a worker may be missing for a moment.
        mounts, begun = Path("/proc/self/mounts").read_text(), begun_layers(self._folder)
        for image in images:
            top = self._images.lower_dirs(image)[0]
            if top in begun or top in mounts:
                found.setdefault(image.id, "a container" if top in begun else "an image volume")
        return found

    def ids(self) -> set[str]:
        return set(self.users())


def begun_layers(folder: Path) -> set[str]:
    """The topmost layers of containers that have a bundle and have not ended."""
    found = set()
    for path in folder.glob(f"*/containers/*/*/{names.CONFIG}"):
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
            if not os.path.exists(names.exit_record(path.parent)):
                found.add(str(json.loads(path.read_bytes())["layers"][0]))
    return found


def holders(pods: Iterable[tuple[Any, ObservedState]], images: Iterable[Image]) -> dict[str, str]:
    """The images that a pod of this node names or runs, by id, each with one such pod."""
    found: dict[str, str] = {}
    known = list(images)
    for pod, observed in pods:
        spec = pod.spec
        names = {container.image for container in (*spec.initContainers, *spec.containers)}
        names |= {container.ephemeralContainerCommon.image for container in spec.ephemeralContainers}
        names |= {volume.volumeSource.image.reference for volume in spec.volumes}
        names |= {attempt.image_id for attempts in observed.attempts.values() for attempt in attempts}
        for image in known:
            if any(map(image.names, filter(None, names))):
                found.setdefault(image.id, f"pod {pod.metadata.namespace}/{pod.metadata.name}")
    return found
