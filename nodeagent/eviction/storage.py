"""Pods that exceed their own limits of local storage: emptyDir sizeLimit and ephemeral-storage. Pure.

Source: kubelet's localStorageEviction: a volume's limit first, then the pod's, then each container's.
"""

from __future__ import annotations

from typing import Any

from nodeagent.eviction import words
from nodeagent.eviction.usage import PodUse
from pinnace import podresources, quantity
from pinnace.podresources import STORAGE


def exceeded(pod: Any, use: PodUse) -> str:
    """Why the pod must go, in kubelet's words; empty when it keeps its limits."""
    return _volume(pod, use) or _pod(pod, use) or _container(pod, use)


def _volume(pod: Any, use: PodUse) -> str:
    for volume in pod.spec.volumes:
        limit = volume.volumeSource.emptyDir.sizeLimit.string
        used = use.volumes.get(volume.name)
        if limit and used is not None and quantity.units(limit) and used.used > quantity.units(limit):
            return words.empty_dir(volume.name, limit)
    return ""


def _pod(pod: Any, use: PodUse) -> str:
    limit = podresources.limits(pod.spec).get(STORAGE)
    if limit is None or use.storage.used <= limit:
        return ""
    return words.pod_storage(quantity.format_bytes(limit))


def _container(pod: Any, use: PodUse) -> str:
    for container in (*pod.spec.initContainers, *pod.spec.containers):
        limits, used = container.resources.limits, use.layers.get(container.name)
        if STORAGE in limits and used is not None and used.used > quantity.units(limits[STORAGE].string):
            return words.container_storage(container.name, limits[STORAGE].string)
    return ""
