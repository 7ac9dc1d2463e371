"""Which images go when the disk fills, and their going.

As kubelet: above the high threshold, images that no pod names or runs are removed, the longest unused first, until the
low threshold is reached. An image frees only the layers that no other image has, and the count goes by that.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from nodeagent.images.blobs import Blobs
from nodeagent.images.store import Image, ImageStore
from pinnace.clock import Clock

log = logging.getLogger("pinnace.images")


@dataclass(frozen=True, slots=True)
class GcPolicy:
    """Thresholds in percent of the disk in use; `min_age` and `period` in seconds. Defaults are kubelet's."""

    high: float = 85.0
    low: float = 80.0
    min_age: float = 120.0
    period: float = 300.0


@dataclass(frozen=True, slots=True)
class Disk:
    """In bytes. `available` is what is left for other users than root."""

    capacity: int
    available: int


def wanted(disk: Disk, policy: GcPolicy) -> int:
    """Bytes to free; 0 below the high threshold."""
    used = disk.capacity - disk.available
    return max(0, int(used - disk.capacity * policy.low / 100)) if used * 100 >= disk.capacity * policy.high else 0


def choose(
    images: Sequence[Image], need: int, *, in_use: Collection[str], used: Callable[[Image], float], before: float
) -> list[Image]:
    """Images to remove to free `need` bytes, as far as that can be: none in use (by id), none that came or was used after
    `before`, the longest unused first."""
    users = Counter(layer for image in images for layer in set(image.layers))
    chosen, freed = [], 0
    for image in sorted(images, key=used):
        if freed >= need:
            break
        if image.id in in_use or max(image.arrived, used(image)) > before:
            continue
        chosen.append(image)
        for layer, size in dict(zip(image.layers, image.sizes, strict=False)).items():
            users[layer] -= 1
            freed += size if not users[layer] else 0
    return chosen


class ImageGc:
    """`in_use` says which images (by id) a pod of this node names or runs; it is asked just before each removal."""

    def __init__(
        self, store: ImageStore, blobs: Blobs, clock: Clock, *, policy: GcPolicy, in_use: Callable[[], Collection[str]],
        disk: Callable[[], Disk] | None = None, clear_cache: Callable[[], Awaitable[int]] | None = None,
    ) -> None:  # fmt: skip
        """`clear_cache` releases layers that only the build cache has, and deletes cache mounts: it returns their bytes."""
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._policy = policy
        self._in_use = in_use
        self._disk = disk or self._measure
        self._clear_cache = clear_cache or _nothing

    def _measure(self) -> Disk:
        found = shutil.disk_usage(self._store.folder)
        return Disk(found.used + found.free, found.free)

    async def run(self) -> None:
        """At first what an earlier agent left, then every period, until cancelled."""
        await self._store.clean()
        while True:
            await self._clock.sleep(self._policy.period)
            try:
                await self.collect()
            except OSError as error:
                log.warning("image_gc_failed error=%s", error)

    async def collect(self, *, target_free: int | None = None) -> int:
        """Free what the thresholds ask for, or until `target_free` bytes of the disk are available.

        Returns the bytes freed, which may be fewer. Raises OSError.
        """
        freed = self._blobs.expire()
        disk = self._disk()
        need = wanted(disk, self._policy) if target_free is None else max(0, target_free - disk.available)
        if not need:
            return freed
        # What can be made again is deleted before images.
        freed += await self._clear_cache()
        freed += self._blobs.expire(self._policy.min_age) + await self._store.sweep()
        before = self._clock.now() - self._policy.min_age
        # From the choice to the removal nothing else runs: no pod can come to need one of them in between.
        chosen = choose(self._store.all(), need - freed, in_use=self._in_use(), used=self._store.used, before=before)
        self._store.forget(image.id for image in chosen)
        freed += await self._store.sweep()
        log.info("image_gc need=%d freed=%d images=%d", need, freed, len(chosen))
        return freed

    async def free(self, amount: int) -> int:
        """Free `amount` bytes if so many can be freed; returns how many were. Raises OSError."""
        return await self.collect(target_free=self._disk().available + amount)

    async def prune(self, *, everything: bool) -> tuple[list[Image], int]:
        """Remove images that are not in use: those without a name, or all. Returns them and the bytes freed."""
        in_use = self._in_use()
        doomed = [image for image in self._store.all() if image.id not in in_use and (everything or not image.references)]
        self._store.forget(image.id for image in doomed)
        cleared = await self._clear_cache()
        return doomed, cleared + await self._store.sweep() + self._blobs.expire(self._policy.min_age)


async def _nothing() -> int:
    return 0
