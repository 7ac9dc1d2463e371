"""The parts of image builds put together. `building.deferred` imports this with the first build."""

from __future__ import annotations

import functools
from collections.abc import Callable

from nodeagent.building import leftovers, limits, sources
from nodeagent.building.builds import Builds
from nodeagent.building.downloads import Downloads
from nodeagent.images.parts import ImageParts
from nodeagent.node import description
from nodeagent.node.config import Config
from nodeagent.pods.dependencies import WorkerDependencies
from nodeagent.runtime import handlers
from nodeagent.streams.builds import BuildStreams
from nodeagent.streams.frames import Handler
from pinnace import labclock
from pinnace.clock import RandomIds


class BuildParts:
    def __init__(
        self, config: Config, deps: WorkerDependencies, images: ImageParts, arrived: Callable[[], None]
    ) -> None:  # fmt: skip
        """`arrived` is BuildStreams'."""
        node = leftovers.Node(
            runtime=deps.runtimes.of(handlers.NATIVE), network=deps.network, cgroups=deps.cgroups,
            clock=labclock.steady(deps.clock), ipam=deps.ipam, memory=deps.memory,
            seccomp_folder=deps.state / "seccomp", dns=deps.dns,
            run_limits=limits.of_node(config.resources.usable(description.machine(deps.state))), mounts=images.mounts,
            downloads=Downloads(deps.clock, config.registries.proxies),
        )  # fmt: skip
        find = functools.partial(sources.fetched, deps.puller)
        self._builds = Builds(deps.state, node, images=images.store, cache=images.cache, find=find, ids=RandomIds())
        self._streams = BuildStreams(self._builds, images.store, arrived)

    async def clean(self) -> None:
        """See Builds.clean."""
        await self._builds.clean()

    def handlers(self) -> dict[str, Handler]:
        return self._streams.handlers()
