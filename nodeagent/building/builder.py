"""One build: the plan's stages, one after another, and the image at the end.

builds/<id>/context/   the context, unpacked
builds/<id>/<step>/    where a step works; gone when it is done
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from nodeagent.building import basehistory, grammar, reading, stages, state
from nodeagent.building.cache import BuildCache
from nodeagent.building.configuring import MAX_TRIGGERS, Arguments
from nodeagent.building.copies import Copies
from nodeagent.building.errors import BuildError
from nodeagent.building.instructions import Healthcheck, Instruction
from nodeagent.building.leftovers import Node
from nodeagent.building.limits import RunLimits
from nodeagent.building.origins import Find, Origins
from nodeagent.building.progress import Progress, Say, shown
from nodeagent.building.running import Runner
from nodeagent.building.runsteps import RunSteps
from nodeagent.building.stages import Plan, Stage
from nodeagent.building.state import State
from nodeagent.building.steps import Steps
from nodeagent.images.registry.credentials import Credential
from nodeagent.images.store import Image, ImageStore
from pinnace.oci import BadImage, manifest
from pinnace.oci.manifest import MAX_LAYERS


@dataclass(frozen=True, slots=True)
class Request:
    """What to build. `limits` are those of each RUN."""

    dockerfile: str
    tags: tuple[str, ...]
    args: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    use_cache: bool = True
    # Base images come from their registries also when this node has them.
    pull: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    # By id; never part of an image, a cache key or a file on disk.
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    limits: RunLimits = field(default_factory=RunLimits)
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
    return replace(found, notes=(*dockerfile.notes, *found.notes, *_ignored(read)))


def _ignored(read: tuple[Instruction, ...]) -> list[str]:
    """Notes on what an image keeps and a cluster does not use."""
    text = "HEALTHCHECK is kept in the image, and Kubernetes ignores it: declare probes in the pod's manifest"
    checks = (item for item in read if isinstance(item, Healthcheck) and item.config.get("Test") != ["NONE"])
    return [f"line {item.line}: {text}" for item in checks]


class Builder:
    """Builds once. Raises BuildError for a Dockerfile that cannot be planned."""

    def __init__(
        self, request: Request, directory: Path, say: Say, *, node: Node, images: ImageStore, cache: BuildCache,
        find: Find,
    ) -> None:  # fmt: skip
        self._request = request
        self._plan = plan(request)
        self._arguments = Arguments(request.args, self._plan.global_args, self._plan.escape)
        self._origins = Origins(images, find, request.credentials, pull=request.pull)
        self._progress = Progress(say, self._plan.steps)
        self._runner = Runner(node, directory)
        copies = Copies(directory, self._plan, self._origins, self._progress, self._built, node.downloads)
        runs = RunSteps(
            directory, self._plan, self._origins, self._runner, mounts=node.mounts, args=request.args,
            secrets=request.secrets, limits=request.limits, say=say, build=self._built,
        )  # fmt: skip
        self._steps = Steps(
            directory, origins=self._origins, progress=self._progress, cache=cache, use_cache=request.use_cache,
            clock=node.clock, copies=copies, runs=runs,
        )  # fmt: skip
        self._states: dict[int, State] = {}

    async def build(self) -> Built:
        """Raises BuildError, OSError."""
        for note in self._plan.notes:
            await self._progress.note(note)
        for number in self._plan.needed:
            await self._built(number)
        return await self._finish(self._states[self._plan.needed[-1]])

    async def close(self) -> None:
        """Remove what runs, and release layers."""
        self._origins.release()
        await self._runner.close()

    async def _built(self, number: int) -> State:
        """The end of a stage. One that only a trigger names is built when it is needed."""
        if number not in self._states:
            if number not in self._plan.needed:
                self._progress.total += 1 + len(self._plan.stages[number].instructions)
            self._states[number] = await self._stage(self._plan.stages[number])
        return self._states[number]

    async def _stage(self, stage: Stage) -> State:
        await self._progress.step(stage.origin)
        with _blaming(stage.origin):
            base = await self._base(stage)
            if len(base.triggers) > MAX_TRIGGERS:
                raise BuildError(f"the image has more than {MAX_TRIGGERS} ONBUILD triggers")
            triggers = tuple(reading.trigger(text, stage.origin.line) for text in base.triggers)
        self._progress.total += len(triggers)
        current = base.as_base()
        for item in (*triggers, *stage.instructions):
            with _blaming(item):
                current = await self._steps.step(item, current, stage, self._arguments)
                if len(current.layers) > MAX_LAYERS:
                    raise BuildError(f"more than {MAX_LAYERS} layers: join some RUN instructions")
        return current

    async def _base(self, stage: Stage) -> State:
        if isinstance(stage.base, int):
            return await self._built(stage.base)
        if not stage.base:
            return State()
        image = await self._origins.image(stage.base)
        history = basehistory.read(self._document(image), stage.base, len(image.layers))
        return State(
            config=dict(image.config), layers=image.layers, history=history.entries, author=history.author
        )  # fmt: skip

    def _document(self, image: Image) -> bytes:
        """Its config; empty for an image of an earlier version of this node."""
        try:
            return self._origins.images.document(image)
        except BadImage:
            return b""

    async def _finish(self, final: State) -> Built:
        if not final.layers:
            raise BuildError("the image has no file: nothing was copied into it")
        if self._request.labels:
            labels = {**(final.config.get("Labels") or {}), **self._request.labels}
            final = replace(final, config={**final.config, "Labels": labels})
        document = json.dumps(state.document(final), sort_keys=True, separators=(",", ":")).encode()
        config = manifest.config(document, len(final.layers), "the image's config")
        return Built(await self._origins.images.keep(config, self._request.tags, loaded=True), document)


@contextmanager
def _blaming(item: Instruction) -> Iterator[None]:
    """Errors get the instruction's text and line."""
    try:
        yield
    except BuildError as error:
        if error.placed:
            # Of a stage that this one takes from.
            raise
        raise BuildError(f"{shown(item.text)}: {error.message}", item.line, code=error.code, placed=True) from error
    except OSError as error:
        raise BuildError(f"{shown(item.text)}: {error.strerror or error}", item.line, placed=True) from error
