"""The images of this node on disk.

    layers/<digest>/    a layer, unpacked once and shared by every image and container that has it
    images/<id>.json    an image: names, config, layers; its last change is the image's last use
    images/<id>.config  its config in its own bytes, whose digest is the id
    incoming/           archives and layers on their way; emptied at start, into
    outgoing/           what is to be deleted once the agent runs
    recipes/            how to make a layer's tar again (`recipes`)
    partial/            blobs that a registry has sent in part; kept over a restart (`blobs`)

Everything appears and disappears by rename, so whatever is there is whole. An image goes before its layers do: after a
crash at any moment a layer without an image may be left, which the next start takes away, and never the other way.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from nodeagent.images import lookup
from nodeagent.images.layers import Layers, erase
from nodeagent.images.records import Image, Records, without
from nodeagent.node import threads
from pinnace.clock import Clock, SystemClock
from pinnace.oci import BadImage
from pinnace.oci.archive import Archive, Layer
from pinnace.oci.manifest import ImageConfig
from pinnace.oci.reference import normalise

__all__ = ["Image", "ImageNotFound", "ImageStore"]


class ImageNotFound(Exception):
    """No image of that name is on this node."""


class ImageStore:
    def __init__(
        self, folder: Path, clock: Clock | None = None, *, also: Callable[[], Iterable[str]] = tuple
    ) -> None:  # fmt: skip
        """`also` names layers to keep though no image has them (a build cache's)."""
        self.folder = folder
        self._also = also
        self._clock = clock or SystemClock()
        self._layers, self._images, self.incoming, self.partial = (
            folder / name for name in ("layers", "images", "incoming", "partial")
        )
        self._outgoing = folder / "outgoing"
        for path in (self._layers, self._images, self.incoming, self.partial):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._records = Records(self._images)
        self._tree = Layers(self._layers, self.incoming)
        self._recover()

    def _recover(self) -> None:
        """After any end: images whose layers are all there, and no layer without an image."""
        self._records.read()
        for image in list(self._records.by_id.values()):
            self._tree.sizes.update(zip(image.layers, image.sizes, strict=False))
            # A disk that cannot be written keeps no agent from starting.
            with contextlib.suppress(OSError):
                self._recover_image(image)
        with contextlib.suppress(OSError):
            self._displace()
            self._outgoing.mkdir(exist_ok=True, mode=0o700)
            # By one rename: it may be layers of any size, and the agent's pods wait for its start.
            os.rename(self.incoming, Path(tempfile.mkdtemp(dir=self._outgoing)) / "incoming")
        self.incoming.mkdir(exist_ok=True, mode=0o700)

    async def clean(self) -> None:
        """Delete what an earlier agent left; for the agent that runs. What cannot be deleted stays."""
        if self._outgoing.exists():
            await threads.images.run(erase, list(self._outgoing.iterdir()))

    def _recover_image(self, image: Image) -> None:
        """Raises OSError; an image without its layers counts as absent nevertheless."""
        if not all(map(self._tree.has, image.layers)):
            self._records.drop(image.id)
            self._records.remove(image.id)
        elif len(image.sizes) != len(image.layers):
            # As it was written before sizes were kept by layer.
            sizes = tuple(map(self._tree.size, image.layers))
            self._records.write(replace(image, sizes=sizes), self.used(image))
            self._tree.sizes.update(zip(image.layers, sizes, strict=False))

    # Reading

    def all(self) -> list[Image]:
        return sorted(self._records.by_id.values(), key=lambda image: image.references)

    def total_bytes(self) -> int:
        """What all images take; a layer that several share counts once."""
        sizes = {layer: size for image in self.all() for layer, size in zip(image.layers, image.sizes, strict=False)}
        return sum(sizes.values())

    def used(self, image: Image) -> float:
        """When it was last used, in seconds since the epoch."""
        return self._records.used.get(image.id, 0.0)

    def find(self, reference: str) -> Image:
        """Raises ImageNotFound."""
        for image in self._records.by_id.values():
            if image.names(reference):
                return image
        raise ImageNotFound(reference)

    def document(self, image: Image) -> bytes:
        """The image's config in its own bytes. Raises BadImage for an image of an earlier version."""
        if not (found := self._records.document(image.id)):
            raise BadImage("its config was not kept by an earlier version of this node: load or pull it again")
        return found

    def use(self, reference: str) -> Image:
        """Find it for a container: it counts as used now. Raises ImageNotFound."""
        image = self.find(reference)
        self._records.touch(image.id, self._clock.now())
        return image

    def lower_dirs(self, image: Image) -> tuple[str, ...]:
        """Directories for an overlay mount, the topmost layer first, each once."""
        return self.layer_dirs(image.layers)

    def layer_dirs(self, diff_ids: Sequence[str]) -> tuple[str, ...]:
        """As `lower_dirs`, of layers that are given from the bottom up.

        overlayfs refuses a directory that is named twice (ELOOP). Of a layer that an image has several times only the
        uppermost counts: it shows every entry and hides every path that the lower ones show and hide, so no tree differs
        without them.
        """
        return tuple(str(self._tree.path(digest)) for digest in dict.fromkeys(reversed(diff_ids)))

    def read_file(self, image: Image, path: str, limit: int = 1 << 20) -> bytes:
        """A small file as a container of the image sees it. Empty when there is none."""
        try:
            with os.fdopen(lookup.open_file(self.lower_dirs(image), path), "rb") as file:
                return file.read(limit)
        except OSError:
            return b""

    # Taking in

    def lacking(self, diff_ids: Iterable[str]) -> list[str]:
        """Those layers that are not on this node, each once."""
        return [diff_id for diff_id in dict.fromkeys(diff_ids) if not self._tree.has(diff_id)]

    def hold(self, diff_ids: Iterable[str]) -> AbstractContextManager[None]:
        """Keep layers, present or coming, from being swept until an image that has them is kept."""
        return self._tree.hold(diff_ids)

    async def add_layer(self, layer: Layer) -> None:
        """Take in a layer that is held. Raises BadImage."""
        await self._tree.add(layer)

    async def unpack_archive(self, packed: Path, directory: Path, name: str) -> None:
        """As a layer, a tar that is none, such as a build's context. Raises BadImage, whose text begins with `name`."""
        await self._tree.unpack_archive(packed, directory, name)

    def close(self) -> None:
        self._tree.close()

    def tar(self, diff_id: str) -> tuple[int, Iterator[bytes]]:
        """A layer's tar again, to the byte: its size and its content in chunks. Raises BadImage, OSError."""
        return self._tree.tar(diff_id)

    def adopt(self, diff_id: str, folder: Path) -> None:
        """Take in, by rename, an unpacked layer that was made here and is held. Raises OSError."""
        self._tree.adopt(diff_id, folder)

    async def keep(self, config: ImageConfig, references: Iterable[str], *, loaded: bool, pinned: str = "") -> Image:
        """Make an image of layers that are there and held. `pinned` is how a registry has it: host/repository@digest.

        A name belongs to one image: the newer takes it. Raises BadImage.
        """
        if missing := self.lacking(config.diff_ids):
            raise BadImage(f"layer {missing[0]} did not come")
        sizes = await threads.images.run(lambda: tuple(map(self._tree.size, config.diff_ids)))
        names, now = {normalise(reference) for reference in references}, self._clock.now()
        for other in list(self._records.by_id.values()):
            if other.id != config.id and names & set(other.references):
                self._records.write(without(other, names), self.used(other))
        known = self._records.by_id.get(config.id, Image(config.id, (), config.run, config.diff_ids, arrived=now))
        kept = replace(
            known, references=tuple(sorted(names | set(known.references))), sizes=sizes,
            loaded=tuple(sorted(set(known.loaded) | names if loaded else set(known.loaded) - names)),
            digests=tuple(sorted({*known.digests, *filter(None, [pinned])})),
        )  # fmt: skip
        self._records.write(kept, now, config.document)
        return kept

    def tag(self, reference: str, target: str) -> Image:
        """Give an image a further name, which moves from another that has it. Raises ImageNotFound."""
        image, name = self.find(reference), normalise(target)
        for other in list(self._records.by_id.values()):
            if other.id != image.id and name in other.references:
                self._records.write(without(other, [name]), self.used(other))
        named = replace(image, references=tuple(sorted({*image.references, name})), loaded=tuple(sorted({*image.loaded, name})))
        self._records.write(named, self.used(image))
        return named

    def pushed(self, image: Image, name: str, pinned: str) -> None:
        """Note that a registry has an image under `name`, and as `pinned` (host/repository@digest): it is asked from now on."""
        current = self._records.by_id.get(image.id)
        if current is not None:
            loaded = tuple(item for item in current.loaded if item != name)
            digests = tuple(sorted({*current.digests, pinned}))
            self._records.write(replace(current, loaded=loaded, digests=digests), self.used(current))

    async def load(self, path: Path, reference: str) -> list[Image]:
        """Take in every image of an archive on this node. Raises BadImage; then nothing of it is kept."""
        archive = await threads.images.run(Archive, path)
        try:
            found = await threads.images.run(archive.images, reference)
            with self.hold([layer.diff_id for image in found for layer in image.layers]):
                for image in found:
                    for layer in image.layers:
                        await self.add_layer(layer)
                return [await self.keep(image.config, image.references, loaded=True) for image in found]
        finally:
            archive.close()
            # Of a failed one some layers are there by now.
            await self.sweep()

    # Removing

    def untag(self, reference: str) -> bool:
        """Take a name away; an image without another name goes too. Raises ImageNotFound. True when it went."""
        image = self.find(reference)
        left = without(image, [normalise(reference)])
        if left.references and left != image:
            self._records.write(left, self.used(image))
            return False
        self._records.remove(image.id)
        return True

    def forget(self, ids: Iterable[str]) -> None:
        """Remove images, whatever their names."""
        for id_ in ids:
            self._records.remove(id_)

    async def sweep(self) -> int:
        """Remove the layers that no image has any more; returns the bytes freed."""
        return await threads.images.run(erase, self._displace())

    def _displace(self) -> list[Path]:
        layers = (layer for image in self._records.by_id.values() for layer in image.layers)
        return self._tree.displace([*layers, *self._also()])
