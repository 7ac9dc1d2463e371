"""One build: the plan's steps, one after another, through the cache, and the image at the end.

builds/<id>/context/   the context, unpacked
builds/<id>/<step>/    where a step works; gone when it is done
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from nodeagent import trees
from nodeagent.images.build import globbing, grammar, keys, layertar, reading, sources, stages, state, writers
from nodeagent.images.build.cache import BuildCache, Record
from nodeagent.images.build.errors import BuildError
from nodeagent.images.build.instructions import Copy, Instruction, Run, Workdir
from nodeagent.images.build.leftovers import Node
from nodeagent.images.build.running import Runner, Say
from nodeagent.images.build.sources import Source
from nodeagent.images.build.stages import Plan, Stage
from nodeagent.images.build.state import DEFAULT_PATH, State
from nodeagent.images.registry.credentials import Credential
from nodeagent.images.store import Image, ImageStore
from pinnace.oci import manifest
from pinnace.oci.manifest import MAX_LAYERS

# Characters of an instruction that are shown.
MAX_SHOWN = 200
# Writes a layer: the folders below it from the top down, and the folder whose `upper` it becomes.
Make = Callable[[tuple[str, ...], Path], Awaitable[None]]
# An image by its name, from wherever it is to be had with these credentials. Raises BuildError.
Find = Callable[[str, Sequence[Credential]], Awaitable[Image]]


@dataclass(frozen=True, slots=True)
class Request:
    """What to build. `run_deadline` in seconds, for each RUN."""

    dockerfile: str
    tags: tuple[str, ...]
    args: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    use_cache: bool = True
    run_deadline: float = 3600.0
    # For the registries of base images.
    credentials: tuple[Credential, ...] = ()


@dataclass(frozen=True, slots=True)
class Built:
    """The image, and its config as the bytes whose digest is its id."""

    image: Image
    document: bytes


def plan(request: Request) -> Plan:
    """What the Dockerfile asks for. Raises BuildError for what is not supported, before anything is done."""
    dockerfile = grammar.parse(request.dockerfile)
    read = reading.read(dockerfile)
    found = stages.plan(read, target=request.target, args=request.args, escape=dockerfile.escape)
    return replace(found, notes=(*dockerfile.notes, *found.notes))


class Builder:
    """Builds once. Raises BuildError for a Dockerfile that cannot be planned."""

    def __init__(
        self, request: Request, folder: Path, say: Say, *, node: Node, images: ImageStore, cache: BuildCache,
        find: Find,
    ) -> None:  # fmt: skip
        self._request = request
        self._folder = folder
        self._say = say
        self._clock = node.clock
        self._images = images
        self._cache = cache
        self._find = find
        self._runner = Runner(node, folder)
        self._run = writers.RunWriter(self._runner, request.args, request.run_deadline, say)
        # Layers that perhaps nothing else names yet: they must not be swept.
        self._held = ExitStack()
        self._states: dict[int, State] = {}
        self._plan = plan(request)
        self._number = 0

    async def build(self) -> Built:
        """Raises BuildError, OSError."""
        for note in self._plan.notes:
            await self._say(f"note: {note}\n".encode())
        for stage in self._plan.stages:
            self._states[stage.number] = await self._stage(stage)
        return await self._finish(self._states[self._plan.stages[-1].number])

    async def close(self) -> None:
        """Take away what runs, and let go of layers."""
        self._held.close()
        await self._runner.close()

    # Stages

    async def _stage(self, stage: Stage) -> State:
        await self._announce(stage.origin)
        with _blaming(stage.origin):
            current = await self._base(stage)
        for item in stage.instructions:
            with _blaming(item):
                current = await self._step(item, current, stage)
                if len(current.layers) > MAX_LAYERS:
                    raise BuildError(f"more than {MAX_LAYERS} layers: join some RUN instructions")
        return current

    async def _base(self, stage: Stage) -> State:
        if isinstance(stage.base, int):
            return replace(self._states[stage.base], args={}, has_cmd=False)
        if not stage.base:
            return State(config={"Env": [f"PATH={DEFAULT_PATH}"]})
        image = await self._image(stage.base)
        if image.config.get("OnBuild"):
            raise BuildError("the image has ONBUILD instructions, which are not supported")
        # The history has an entry for each layer; that of the base is not kept by the store.
        history = tuple({"created_by": f"FROM {stage.base}"} for _ in image.layers)
        return State(config=dict(image.config), layers=image.layers, history=history)

    async def _image(self, name: str) -> Image:
        image = await self._find(name, self._request.credentials)
        self._hold(*image.layers)
        return image

    # Steps

    async def _announce(self, item: Instruction, *, cached: bool = False) -> None:
        self._number += 1
        mark = " CACHED" if cached else ""
        text = item.text if len(item.text) <= MAX_SHOWN else item.text[:MAX_SHOWN] + "..."
        await self._say(f"[{self._number}/{self._plan.steps}] {text}{mark}\n".encode())

    async def _step(self, item: Instruction, before: State, stage: Stage) -> State:
        escape, scope = self._plan.escape, self._plan.global_args
        resolved = state.resolve(item, before, escape)
        after = state.configure(resolved, before, self._request.args, scope, escape)
        match resolved:
            case Run():

                async def run(layers: tuple[str, ...], folder: Path) -> None:
                    await self._run.write(resolved, after, layers, folder)

                return await self._write(item, after, keys.of_run(resolved, before), run)
            case Copy():
                with await self._source(resolved, stage) as source:
                    return await self._copy(item, resolved, after, source)
            case Workdir():

                async def workdir(layers: tuple[str, ...], folder: Path) -> None:
                    await asyncio.to_thread(writers.workdir, resolved, after, layers, folder)

                return await self._write(item, after, keys.of_workdir(resolved, before), workdir)
            case _:
                await self._announce(item)
                return after

    async def _source(self, item: Copy, stage: Stage) -> AbstractContextManager[Source]:
        if not item.source:
            return sources.of_context(self._folder / "context")
        if item.source in stage.sources:
            layers = self._states[stage.sources[item.source]].layers
        else:
            layers = (await self._image(item.source)).layers
        return sources.of_layers(item.source, layers, self._images.layer_dirs(layers), self._folder / "source")

    async def _copy(self, item: Instruction, resolved: Copy, current: State, source: Source) -> State:
        paths = await asyncio.to_thread(globbing.find, source.root, resolved.paths, source.name)
        if len(paths) > 1 and not writers.target_of(resolved, current).endswith("/"):
            raise BuildError("several sources need a destination that is a folder: end it with /")
        taken = await asyncio.to_thread(source.digest, paths)

        async def make(layers: tuple[str, ...], folder: Path) -> None:
            await asyncio.to_thread(writers.copy, resolved, current, layers, folder, source=source, paths=paths)

        return await self._write(item, current, keys.of_copy(resolved, current, taken), make)

    async def _write(self, item: Instruction, current: State, key: str, make: Make) -> State:
        """A step that writes: its layer from the cache, or made now."""
        record = self._cache.find(key) if self._request.use_cache else None
        if record is not None and not self._images.lacking(filter(None, [record.layer])):
            self._hold(*filter(None, [record.layer]))
            await self._announce(item, cached=True)
        else:
            await self._announce(item)
            record = await self._made_now(current, make)
            self._cache.keep(key, record)
        return current.with_layer(record.layer, item, record.created)

    def _hold(self, *layers: str) -> None:
        self._held.enter_context(self._images.hold(layers))

    async def _made_now(self, current: State, make: Make) -> Record:
        scratch = self._folder / str(self._number)
        try:
            await make(self._images.layer_dirs(current.layers), scratch)
            layer = await asyncio.to_thread(_digest, scratch / "upper")
            if layer:
                self._hold(layer)
                await asyncio.to_thread(self._images.adopt, layer, scratch / "upper")
        finally:
            await asyncio.to_thread(trees.remove, scratch)
        created = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Record(layer, created)

    # The image

    async def _finish(self, final: State) -> Built:
        if not final.layers:
            raise BuildError("the image has no file: nothing was copied into it")
        document = json.dumps(state.document(final), sort_keys=True, separators=(",", ":")).encode()
        config = manifest.config(document, len(final.layers), "the image's config")
        return Built(await self._images.keep(config, self._request.tags, loaded=True), document)


@contextmanager
def _blaming(item: Instruction) -> Iterator[None]:
    """Errors get the instruction's text and line."""
    try:
        yield
    except BuildError as error:
        raise BuildError(f"{item.text[:MAX_SHOWN]}: {error.message}", item.line, code=error.code) from error
    except OSError as error:
        raise BuildError(f"{item.text[:MAX_SHOWN]}: {error.strerror or error}", item.line) from error


def _digest(upper: Path) -> str:
    """The digest of a writable layer; empty when nothing was written."""
    layertar.tidy(upper)
    return "" if layertar.is_empty(upper) else layertar.digest(upper)
