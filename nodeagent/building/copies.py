"""The trees that a COPY or ADD takes from, open for as long as it copies, and their digests for the cache's key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from nodeagent.building import adding, content, downloads, filesteps, keys, pieces, sources
from nodeagent.building.downloads import Downloads
from nodeagent.building.filesteps import Batch
from nodeagent.building.instructions import Copy
from nodeagent.building.origins import Origins
from nodeagent.building.pieces import Piece
from nodeagent.building.progress import Progress
from nodeagent.building.readers import files
from nodeagent.building.sources import Source
from nodeagent.building.stages import Plan
from nodeagent.building.state import State
from nodeagent.linux import rmtree
from nodeagent.node import threads


@dataclass(frozen=True, slots=True)
class Copied:
    """`digests` are of the content of what is copied, in its order; `batches` opens it, after what it downloads."""

    digests: tuple[str, ...]
    batches: Callable[[], Awaitable[tuple[Batch, ...]]]


class Copies:
    """The COPYs of one build; `build` gives the end of a stage by its number."""

    def __init__(
        self, directory: Path, plan: Plan, origins: Origins, progress: Progress, build: Callable[[int], Awaitable[State]],
        downloads: Downloads,
    ) -> None:  # fmt: skip
        self._directory = directory
        self._plan = plan
        self._origins = origins
        self._progress = progress
        self._build = build
        self._downloads = downloads

    @asynccontextmanager
    async def opened(self, item: Copy, stage: int) -> AsyncIterator[Copied]:
        """Raises BuildError, OSError."""
        layers: tuple[str, ...] | None = None
        if item.source:
            layers = await self._origins.layers(item.source, self._plan, stage, item.line, self._build)
        with ExitStack() as stack:
            local, digests = await threads.builds.run(self._open, stack, item, layers)
            if not any(batch.pieces for batch in local) and not any(map(files.is_url, item.paths)):
                await self._progress.note(f"line {item.line}: no file matches the sources")
            try:
                downloaded: list[Batch] = []
                if not item.checksum:
                    # Without a checksum only the content says whether it changed.
                    downloaded, found = await self._download(stack, item)
                    digests += found

                async def batches() -> tuple[Batch, ...]:
                    late = downloaded if not item.checksum else (await self._download(stack, item))[0]
                    archives = self._directory / "archives"
                    return tuple(await adding.unpacked(stack, [*local, *late], archives, self._origins.images))

                yield Copied(tuple(digests), batches)
            finally:
                for name in ("downloads", "archives"):
                    await threads.builds.run(rmtree.remove, self._directory / name)

    async def _download(self, stack: ExitStack, item: Copy) -> tuple[list[Batch], list[str]]:
        batches, digests = [], []
        for number, url in enumerate(filter(files.is_url, item.paths)):
            directory = self._directory / "downloads" / str(number)
            found = await self._downloads.fetch(url, item.checksum, directory)
            root = stack.enter_context(sources.of_context(directory)).root
            batches.append(Batch(root, [Piece(found.path.name)], foreign=True, unpack=item.unpack is True))
            digests.append(f"{found.path.name} {found.digest}")
        return batches, digests

    def _open(self, stack: ExitStack, item: Copy, layers: tuple[str, ...] | None) -> tuple[list[Batch], list[str]]:
        """What needs no download."""
        batches: list[Batch] = []
        digests = [f"{downloads.name_of(item.paths[0])} {item.checksum}"] if item.checksum else []
        local = [path for path in item.paths if not files.is_url(path)]
        if local:
            source = stack.enter_context(self._source(item.source, layers))
            found = pieces.find(source.root, item, local, source.name)
            batches.append(Batch(source.root, found, foreign=layers is None, unpack=item.unpacks_local))
            digests.append(
                content.digest(source.root, found)
                if layers is None
                else keys.of_layers(layers, tuple(piece.path for piece in found))
            )
        batch = stack.enter_context(filesteps.documents(item.documents, self._directory / "documents"))
        if batch is not None:
            batches.append(batch)
            digests.append(keys.of_documents(item.documents))
        return batches, digests

    def _source(self, name: str, layers: tuple[str, ...] | None) -> AbstractContextManager[Source]:
        if layers is None:
            return sources.of_context(self._directory / "context")
        return sources.of_layers(name, self._origins.images.layer_dirs(layers), self._directory / "source")
