"""Which images the pods of this node name or run: what garbage collection and `kctl image rm` must leave alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nodeagent.images.store import Image, ImageStore
from nodeagent.pods.manager import PodManager
from nodeagent.pods.model import Seen


class ImageUsage:
    def __init__(self, pods: PodManager, images: ImageStore) -> None:
        self._pods = pods
        self._images = images

    def users(self) -> dict[str, str]:
        """Ids of images in use, each with who uses it: `pod default/web`."""
        images = self._images.all()
        found = holders(((worker.pod, worker.seen) for worker in self._pods.workers.values()), images)
        # A volume keeps the image that its name had when it was mounted.
        mounts = Path("/proc/self/mounts").read_text()
        volumes = {image.id: "an image volume" for image in images if self._images.lower_dirs(image)[0] in mounts}
        return {**volumes, **found}

    def ids(self) -> set[str]:
        return set(self.users())


def holders(pods: Iterable[tuple[Any, Seen]], images: Iterable[Image]) -> dict[str, str]:
    """The images that a pod of this node names or runs, by id, each with one such pod."""
    found: dict[str, str] = {}
    known = list(images)
    for pod, seen in pods:
        spec = pod.spec
        names = {container.image for container in (*spec.initContainers, *spec.containers)}
        names |= {container.ephemeralContainerCommon.image for container in spec.ephemeralContainers}
        names |= {volume.volumeSource.image.reference for volume in spec.volumes}
        names |= {attempt.image_id for attempts in seen.attempts.values() for attempt in attempts}
        for image in known:
            if any(map(image.names, filter(None, names))):
                found.setdefault(image.id, f"pod {pod.metadata.namespace}/{pod.metadata.name}")
    return found
