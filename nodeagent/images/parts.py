"""Everything of the agent that has to do with images, put together."""

from __future__ import annotations

from dataclasses import dataclass

from nodeagent.config import Config
from nodeagent.images.build.cache import BuildCache
from nodeagent.images.gc import ImageGc
from nodeagent.images.puller import Puller
from nodeagent.images.store import ImageStore
from nodeagent.pods.imageusage import ImageUsage
from nodeagent.pods.manager import PodManager
from pinnace.clock import Clock


@dataclass(frozen=True, slots=True)
class ImageParts:
    cache: BuildCache
    store: ImageStore
    puller: Puller
    usage: ImageUsage
    gc: ImageGc

    @classmethod
    def of(cls, config: Config, pods: PodManager, clock: Clock) -> ImageParts:
        cache = BuildCache(config.state_dir / "images/build-cache")
        store = ImageStore(config.state_dir / "images", clock, also=cache.layers)
        puller = Puller(store, config.registries, clock)
        usage = ImageUsage(pods, store, config.state_dir / "pods")
        gc = ImageGc(store, puller.blobs, clock, policy=config.image_gc, in_use=usage.ids, forget_cache=cache.clear)
        return cls(cache, store, puller, usage, gc)
