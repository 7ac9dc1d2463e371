"""Layers on disk: each unpacked once into a folder of its own, shared by every image and container that has it.

A layer appears and disappears by rename, so whatever is there is whole. Those that someone is about to use are held.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from nodeagent.images import tarsplit
from nodeagent.images.keymutex import KeyMutex
from nodeagent.images.unpacking import Unpacker
from nodeagent.linux import rmtree
from nodeagent.linux.diskusage import size_of
from nodeagent.node import threads
from pinnace.oci import BadImage
from pinnace.oci.archive import Layer

# Unpacking is work for the processor: more at once would only slow the agent's other work down.
PARALLEL = 2


class Layers:
    def __init__(self, folder: Path, incoming: Path) -> None:
        self._folder, self._incoming = folder, incoming
        self._recipes = folder.with_name("recipes")
        self._recipes.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.sizes: dict[str, int] = {}
        self._held: Counter[str] = Counter()
        self._turns = KeyMutex()
        self._slots = asyncio.Semaphore(PARALLEL)
        self._unpacker = Unpacker()

    def path(self, diff_id: str) -> Path:
        # A short name: all layers of an image share one page of mount options.
        return self._folder / diff_id.removeprefix("sha256:")[:24]

    def has(self, diff_id: str) -> bool:
        return self.path(diff_id).exists()

    @contextlib.contextmanager
    def hold(self, diff_ids: Iterable[str]) -> Iterator[None]:
        """Keep these from `displace` until an image names them."""
        held = list(diff_ids)
        self._held.update(held)
        try:
            yield
        finally:
            self._held.subtract(held)
            self._held += Counter()

    async def add(self, layer: Layer) -> None:
        """Unpack a layer unless it is there; two who add the same one do it once. Raises BadImage."""
        async with self._turns.of(layer.diff_id), self._slots:
            if not self.has(layer.diff_id):
                await self._unpack(layer)

    async def _unpack(self, layer: Layer) -> None:
        name = f"layer {layer.diff_id[:19]}"
        scratch = Path(tempfile.mkdtemp(dir=self._incoming))
        recipe = scratch.with_name(f"{scratch.name}.recipe")
        try:
            os.chmod(scratch, 0o755)
            with layer.open() as stream:
                unpacked = await self._unpacker.unpack(stream, scratch, name=name, recipe=recipe, digest=layer.diff_id)
            self.sizes[layer.diff_id] = unpacked.size
            # Before the layer: where there is one, it is whole.
            os.rename(recipe, self._recipe(layer.diff_id))
            os.rename(scratch, self.path(layer.diff_id))
        except OSError as error:
            raise BadImage(f"{name}: {error}") from None
        finally:
            await threads.images.run(_discard, scratch, recipe)

    async def unpack_archive(self, packed: Path, directory: Path, name: str) -> None:
        """A tar that is no layer, packed or not, into an empty directory: with a layer's bounds, but no whiteouts.

        Raises BadImage, whose text begins with `name`.
        """
        with open(packed, "rb") as stream:
            await self._unpacker.unpack(stream, directory, name=name, whiteouts=False)

    def close(self) -> None:
        """End the unpacker; what it works on fails."""
        self._unpacker.close()

    def _recipe(self, diff_id: str) -> Path:
        return self._recipes / f"{self.path(diff_id).name}.gz"

    def tar(self, diff_id: str) -> tuple[int, Iterator[bytes]]:
        """The layer's tar again: its size, and its bytes in chunks. Those of a layer that an earlier
        version took without a recipe may differ, which the receiver detects by the digest. Raises OSError."""
        recipe, folder = self._recipe(diff_id), self.path(diff_id)
        if recipe.exists():
            return tarsplit.size(recipe), tarsplit.stream(recipe, folder)
        # Here: tarfile, for layers that were built on this node.
        from nodeagent.building import layertar

        return layertar.size(folder), layertar.stream(folder)

    def adopt(self, diff_id: str, folder: Path) -> None:
        """Take in, by rename, a folder that was made here and is held; it has the digest. Raises OSError."""
        os.chmod(folder, 0o755)
        self.sizes[diff_id] = size_of(folder)
        try:
            os.rename(folder, self.path(diff_id))
        except OSError as error:
            # It is here already.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise

    def size(self, diff_id: str) -> int:
        """Bytes on disk."""
        if diff_id not in self.sizes:
            self.sizes[diff_id] = size_of(self.path(diff_id))
        return self.sizes[diff_id]

    def displace(self, wanted: Iterable[str]) -> list[Path]:
        """Take every layer that is neither wanted nor held out of its place; `erase` then frees the space.

        In two steps, because a layer that is half removed would be taken for whole after a crash, and because this one
        is too quick for another task to come between.
        """
        kept = {self.path(diff_id).name for diff_id in (*wanted, *self._held)}
        displaced = []
        for entry in list(os.scandir(self._folder)):
            if entry.name not in kept:
                trash = Path(tempfile.mkdtemp(dir=self._incoming))
                os.rename(entry.path, trash / "layer")
                displaced.append(trash)
        for entry in list(os.scandir(self._recipes)):
            if entry.name.removesuffix(".gz") not in kept:
                os.unlink(entry.path)
        self.sizes = {diff_id: size for diff_id, size in self.sizes.items() if self.path(diff_id).name in kept}
        return displaced


def erase(displaced: Iterable[Path]) -> int:
    """Returns the bytes freed."""
    freed = 0
    for path in displaced:
        freed += size_of(path)
        with contextlib.suppress(OSError):
            rmtree.remove(path)
    return freed


def _discard(directory: Path, recipe: Path) -> None:
    with contextlib.suppress(OSError):
        rmtree.remove(directory)
    recipe.unlink(missing_ok=True)
