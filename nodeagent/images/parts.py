"""Everything of the agent that has to do with images, put together."""

from __future__ import annotations

from dataclasses import dataclass

from nodeagent.building.cache import BuildCache
from nodeagent.building.cachemounts import CacheMounts
from nodeagent.images.gc import ImageGc
from nodeagent.images.puller import Puller
from nodeagent.images.store import ImageStore
from nodeagent.node.config import Config
from nodeagent.pods.imageusage import ImageUsage
from nodeagent.pods.manager import PodManager
from pinnace import labclock
from pinnace.clock import Clock


@dataclass(frozen=True, slots=True)
class ImageParts:
    cache: BuildCache
    mounts: CacheMounts
    store: ImageStore
    puller: Puller
    usage: ImageUsage
    gc: ImageGc

    @classmethod
    def of(cls, config: Config, pods: PodManager, clock: Clock) -> ImageParts:
        cache = BuildCache(config.state_dir / "images/build-cache")
        mounts = CacheMounts(config.state_dir / "images/build-cache/mounts", clock)
        store = ImageStore(config.state_dir / "images", clock, also=cache.layers)
        # A download does not become slow by an advance of the clock.
        puller = Puller(store, config.registries, labclock.steady(clock))
        usage = ImageUsage(pods, store, config.state_dir / "pods")

        async def clear() -> int:
            cache.clear()
            return await mounts.clear()

        gc = ImageGc(store, puller.blobs, clock, policy=config.image_gc, in_use=usage.ids, clear_cache=clear)
        return cls(cache, mounts, store, puller, usage, gc)
