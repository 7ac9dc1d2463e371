"""Layers on disk: each unpacked once into a folder of its own, shared by every image and container that has it.

A layer appears and disappears by rename, so whatever is there is whole. Those that someone is about to use are held.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, cast

from nodeagent import trees
from nodeagent.images import recipes
from nodeagent.images.build import layertar
from nodeagent.images.turns import Turns
from nodeagent.images.unpack import MAX_BYTES, MAX_MEMBERS, unpack
from pinnace import memory
from pinnace.oci import BadImage
from pinnace.oci.archive import Layer
from pinnace.oci.compression import decompressed

# Unpacking is work for the processor: more at once would only slow the agent's other work down.
PARALLEL = 2
# A tar's headers and padding beside its content.
_MAX_TAR = MAX_BYTES + MAX_MEMBERS * 1024


class Layers:
    def __init__(self, folder: Path, incoming: Path) -> None:
        self._folder, self._incoming = folder, incoming
        self._recipes = folder.with_name("recipes")
        self._recipes.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.sizes: dict[str, int] = {}
        self._held: Counter[str] = Counter()
        self._turns = Turns()
        self._slots = asyncio.Semaphore(PARALLEL)

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
                await asyncio.to_thread(self._unpack, layer)
                memory.trim()

    def _unpack(self, layer: Layer) -> None:
        name = f"layer {layer.diff_id[:19]}"
        scratch = tempfile.mkdtemp(dir=self._incoming)
        os.chmod(scratch, 0o755)
        try:
            with layer.open() as stream:
                hashed = _Hashed(decompressed(stream), name)
                with recipes.Recorder(cast(IO[bytes], hashed), Path(f"{scratch}.recipe")) as recorder:
                    unpack(cast(IO[bytes], recorder), scratch, name, recorder.note)
                    recorder.finish()
                if hashed.digest() != layer.diff_id:
                    raise BadImage(f"layer {layer.diff_id} does not match its digest")
            self.sizes[layer.diff_id] = size_of(scratch)
            if recorder.whole:
                # Before the layer: where there is one, it is whole.
                os.rename(f"{scratch}.recipe", self._recipe(layer.diff_id))
            os.rename(scratch, self.path(layer.diff_id))
        except OSError as error:
            raise BadImage(f"{name}: {error}") from None
        finally:
            with contextlib.suppress(OSError):
                trees.remove(Path(scratch))
            Path(f"{scratch}.recipe").unlink(missing_ok=True)

    def _recipe(self, diff_id: str) -> Path:
        return self._recipes / f"{self.path(diff_id).name}.gz"

    def tar(self, diff_id: str) -> tuple[int, Iterator[bytes]]:
        """The layer's tar again: its size, and its bytes in chunks. Those of a layer that was neither built here nor
        recorded when it came may differ, which whoever takes them sees by the digest. Raises OSError."""
        recipe, folder = self._recipe(diff_id), self.path(diff_id)
        if recipe.exists():
            return recipes.size(recipe), recipes.stream(recipe, folder)
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
        is quick enough to let nobody in between.
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
            trees.remove(path)
    return freed


class _Hashed:
    """A stream that hashes and counts what is read through it. Raises BadImage past any tar's bound."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self._name = name
        self._digest = hashlib.sha256()
        self._total = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._total += len(data)
        if self._total > _MAX_TAR:
            raise BadImage(f"{self._name}: more than {_MAX_TAR >> 30} GiB")
        self._digest.update(data)
        return data

    def digest(self) -> str:
        return "sha256:" + self._digest.hexdigest()


def size_of(folder: str | Path) -> int:
    """Bytes of the files below a folder; a file with several names counts once for each."""
    total, waiting = 0, [str(folder)]
    # Not os.walk, which takes a call for each level: a layer may be deeper than that.
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total
