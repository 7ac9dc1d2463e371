"""All builds of this node: at most a few at once, each in a directory of its own, and nothing left of one that was killed.

builds/<id>/                        a running build; at the agent's start, one of an agent that was killed
images/build-cache/*.json           see `cache`
images/build-cache/mounts/          see `cachemounts`
images/build-cache/images/<id>      the config of an image that was built here, in its own bytes
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from nodeagent.building import leftovers
from nodeagent.building.builder import Builder, Built, Request
from nodeagent.building.cache import BuildCache
from nodeagent.building.errors import BuildError
from nodeagent.building.leftovers import Node
from nodeagent.building.origins import Find
from nodeagent.building.progress import Say
from nodeagent.images.store import Image, ImageStore
from nodeagent.node import threads
from pinnace import memory, pki
from pinnace.clock import Ids

log = logging.getLogger("pinnace.build")
MAX_BUILDS = 4


class Builds:
    def __init__(
        self, state: Path, node: Node, *, images: ImageStore, cache: BuildCache, find: Find, ids: Ids
    ) -> None:  # fmt: skip
        """`find` gets the image of a FROM onto this node."""
        self._directory = state / "builds"
        self._documents = cache.directory / "images"
        self._node = node
        self._images = images
        self._cache = cache
        self._find = find
        self._ids = ids
        self._directories: set[Path] = set()

    async def clean(self) -> None:
        """Remove what builds of an earlier agent have left; before the first build."""
        for path in sorted(self._directory.glob("*")):
            log.info("build_left_over build=%s", path.name)
            await self._remove(path)
        self._delete_documents()

    async def _remove(self, directory: Path) -> None:
        try:
            await leftovers.remove(self._node, directory)
            await threads.builds.run(leftovers.unmount, directory)
        except OSError as error:
            log.error("build_not_unmounted build=%s error=%s", directory.name, error)
        else:
            await leftovers.discard(directory)

    @asynccontextmanager
    async def directory(self) -> AsyncIterator[Path]:
        """A new build's directory, removed afterwards. Raises BuildError when there are too many builds."""
        if len(self._directories) >= MAX_BUILDS:
            raise BuildError(f"this node runs {MAX_BUILDS} builds already")
        path = self._directory / self._ids.uid()[:8]
        for part in (self._directory, path, path / "context"):
            # Closed to other users of the machine: images may have setuid executables.
            part.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directories.add(path)
        try:
            yield path
        finally:
            self._directories.discard(path)
            await leftovers.discard(path)
            memory.trim()

    async def build(self, request: Request, directory: Path, say: Say) -> Image:
        """Build in `directory`, whose `context` is there. Raises BuildError, BadImage, OSError."""
        builder = Builder(request, directory, say, node=self._node, images=self._images, cache=self._cache, find=self._find)
        try:
            built = await builder.build()
            self._keep(built)
            return built.image
        finally:
            await builder.close()
            await self._node.mounts.trim()

    # What another node needs of an image

    def document(self, image: Image) -> bytes:
        """The image's config in its own bytes. Raises BuildError for one that was not built here."""
        try:
            return self._document(image.id).read_bytes()
        except FileNotFoundError:
            raise BuildError("its config was not kept by an earlier version of this node: load or pull it again") from None

    def _document(self, image: str) -> Path:
        return self._documents / image.removeprefix("sha256:")

    def _keep(self, built: Built) -> None:
        pki.write_private(self._document(built.image.id), built.document)
        self._delete_documents()

    def _delete_documents(self) -> None:
        """Those of images that are no longer in the store."""
        known = {self._document(image.id) for image in self._images.all()}
        for path in self._documents.glob("*"):
            if path not in known:
                path.unlink(missing_ok=True)
