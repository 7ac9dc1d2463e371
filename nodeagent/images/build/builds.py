"""All builds of this node: at most a few at once, each in a folder of its own, and nothing left of one that was killed.

builds/<id>/                        a build under way; what is there at start belonged to an agent that was killed
images/build-cache/*.json           see `cache`
images/build-cache/images/<id>      the config of an image that was built here, in its own bytes
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from nodeagent import trees
from nodeagent.images.build import leftovers
from nodeagent.images.build.builder import Builder, Built, Find, Request
from nodeagent.images.build.cache import BuildCache
from nodeagent.images.build.errors import BuildError
from nodeagent.images.build.leftovers import Node
from nodeagent.images.build.running import Say
from nodeagent.images.store import Image, ImageStore
from pinnace import memory, pki
from pinnace.clock import Ids

log = logging.getLogger("pinnace.build")
MAX_BUILDS = 4


class Builds:
    def __init__(
        self, state: Path, node: Node, *, images: ImageStore, cache: BuildCache, find: Find, ids: Ids
    ) -> None:  # fmt: skip
        """`find` brings the image of a FROM to this node."""
        self._folder = state / "builds"
        self._documents = cache.folder / "images"
        self._node = node
        self._images = images
        self._cache = cache
        self._find = find
        self._ids = ids
        self._folders: set[Path] = set()
        self._cleaned = asyncio.Event()

    async def clean(self) -> None:
        """Take away what builds of an earlier agent have left. New builds wait for it."""
        try:
            for path in sorted(self._folder.glob("*")):
                log.info("build_left_over build=%s", path.name)
                await self._take_away(path)
            self._forget_documents()
        finally:
            self._cleaned.set()

    async def _take_away(self, folder: Path) -> None:
        try:
            await leftovers.take_away(self._node, folder)
            await asyncio.to_thread(leftovers.unmount, folder)
            await asyncio.to_thread(trees.remove, folder)
        except OSError as error:
            # It is tried again at the next start; pods and other builds go on.
            log.error("build_not_removed build=%s error=%s", folder.name, error)

    @asynccontextmanager
    async def folder(self) -> AsyncIterator[Path]:
        """A new build's folder, gone afterwards. Raises BuildError when there are too many builds."""
        await self._cleaned.wait()
        if len(self._folders) >= MAX_BUILDS:
            raise BuildError(f"this node runs {MAX_BUILDS} builds already")
        path = self._folder / self._ids.uid()[:8]
        for part in (self._folder, path, path / "context"):
            # Closed to other users of the machine: what is built may hold setuid programs.
            part.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folders.add(path)
        try:
            yield path
        finally:
            self._folders.discard(path)
            await asyncio.to_thread(trees.remove, path)
            memory.trim()

    async def build(self, request: Request, folder: Path, say: Say) -> Image:
        """Build in `folder`, whose `context` is there. Raises BuildError, BadImage, OSError."""
        builder = Builder(request, folder, say, node=self._node, images=self._images, cache=self._cache, find=self._find)
        try:
            built = await builder.build()
            self._keep(built)
            return built.image
        finally:
            await builder.close()

    # What another node needs of an image

    def document(self, image: Image) -> bytes:
        """The image's config in its own bytes. Raises BuildError for one that was not built here."""
        try:
            return self._document(image.id).read_bytes()
        except FileNotFoundError:
            raise BuildError("it was not built on this node") from None

    def _document(self, image: str) -> Path:
        return self._documents / image.removeprefix("sha256:")

    def _keep(self, built: Built) -> None:
        pki.write_private(self._document(built.image.id), built.document)
        self._forget_documents()

    def _forget_documents(self) -> None:
        """Those of images that are gone."""
        known = {self._document(image.id) for image in self._images.all()}
        for path in self._documents.glob("*"):
            if path not in known:
                path.unlink(missing_ok=True)
