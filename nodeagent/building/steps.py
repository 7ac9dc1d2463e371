"""One instruction of a stage: what it does to the configuration, and its layer, from the cache or made now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from nodeagent.building import configuring, filesteps, keys, layertar, leftovers, resolving
from nodeagent.building.cache import BuildCache, Record
from nodeagent.building.configuring import Arguments
from nodeagent.building.copies import Copies
from nodeagent.building.instructions import Copy, Instruction, Run, Workdir
from nodeagent.building.origins import Origins
from nodeagent.building.progress import Progress
from nodeagent.building.runsteps import RunSteps
from nodeagent.building.stages import Stage
from nodeagent.building.state import State
from nodeagent.launcher import bundle as names
from nodeagent.node import threads
from pinnace.clock import Clock

# Writes a layer: the directories below it from the top down, and the directory whose `upper` it becomes.
Make = Callable[[tuple[str, ...], Path], Awaitable[None]]


class Steps:
    """The steps of one build, each in a directory of its own below `directory`."""

    def __init__(
        self, directory: Path, *, origins: Origins, progress: Progress, cache: BuildCache, use_cache: bool, clock: Clock,
        copies: Copies, runs: RunSteps,
    ) -> None:  # fmt: skip
        self._directory = directory
        self._origins = origins
        self._progress = progress
        self._cache = cache
        self._use_cache = use_cache
        self._clock = clock
        self._copies = copies
        self._runs = runs

    async def step(self, item: Instruction, before: State, stage: Stage, arguments: Arguments) -> State:
        """The state after `item`. Raises BuildError, OSError."""
        resolved = resolving.resolve(item, before, arguments.escape)
        after = configuring.configure(resolved, before, arguments)
        match resolved:
            case Run():
                inputs = await self._runs.inputs(resolved, stage.number)

                async def run(layers: tuple[str, ...], directory: Path) -> None:
                    await self._runs.write(resolved, after, layers, directory, inputs)

                return await self._write(item, after, keys.of_run(resolved, before, inputs.digests), run)
            case Copy():
                async with self._copies.opened(resolved, stage.number) as copied:

                    async def copy(layers: tuple[str, ...], directory: Path) -> None:
                        batches = await copied.batches()
                        await threads.builds.run(filesteps.copy, resolved, after, layers, directory, batches)

                    return await self._write(item, after, keys.of_copy(resolved, after, copied.digests), copy)
            case Workdir():

                async def workdir(layers: tuple[str, ...], directory: Path) -> None:
                    await threads.builds.run(filesteps.workdir, resolved, after, layers, directory)

                return await self._write(item, after, keys.of_workdir(resolved, before), workdir)
            case _:
                await self._progress.step(item)
                return after

    async def _write(self, item: Instruction, current: State, key: str, make: Make) -> State:
        """A step that writes: its layer from the cache, or made now."""
        record = self._cache.find(key) if self._use_cache else None
        images = self._origins.images
        if record is not None and not images.lacking(filter(None, [record.layer])):
            self._origins.hold(*filter(None, [record.layer]))
            await self._progress.step(item, cached=True)
        else:
            await self._progress.step(item)
            record = await self._made_now(current, make)
            self._cache.keep(key, record)
        return current.with_layer(record.layer, item, record.created)

    async def _made_now(self, current: State, make: Make) -> Record:
        images, scratch = self._origins.images, self._directory / str(self._progress.number)
        try:
            await make(images.layer_dirs(current.layers), scratch)
            upper = Path(names.upper(scratch))
            layer = await threads.builds.run(_digest, upper)
            if layer:
                self._origins.hold(layer)
                await threads.builds.run(images.adopt, layer, upper)
        finally:
            await leftovers.discard(scratch)
        created = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Record(layer, created)


def _digest(upper: Path) -> str:
    """The digest of a writable layer; empty when nothing was written."""
    layertar.tidy(upper)
    return "" if layertar.is_empty(upper) else layertar.digest(upper)
