"""The images of this node on disk.

    layers/<digest>/    a layer, unpacked once and shared by every image and container that has it
    images/<id>.json    an image: names, config, layers
    incoming/           archives and layers on their way; emptied at start

Everything appears by rename, so whatever is there is whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from nodeagent.images.archive import Archive, ImageArchive, Layer
from nodeagent.images.reference import normalise
from nodeagent.images.unpack import BadImage, unpack
from nodeagent.runtime.native import syscalls
from pinnace import pki


@dataclass(frozen=True, slots=True)
class Image:
    """`layers` are digests from the bottom up, `size` bytes on disk."""

    id: str
    references: tuple[str, ...]
    config: dict[str, Any]
    layers: tuple[str, ...]
    size: int = 0


class ImageNotFound(Exception):
    """No image of that name is on this node."""


class ImageStore:
    def __init__(self, folder: Path) -> None:
        self._layers, self._images, self.incoming = (folder / name for name in ("layers", "images", "incoming"))
        shutil.rmtree(self.incoming, ignore_errors=True)
        for path in (self._layers, self._images, self.incoming):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._by_id = {image.id: image for image in map(_read, self._images.glob("*.json"))}
        self._lock = asyncio.Lock()

    def all(self) -> list[Image]:
        return sorted(self._by_id.values(), key=lambda image: image.references)

    def find(self, reference: str) -> Image:
        """Raises ImageNotFound."""
        wanted = normalise(reference)
        for image in self._by_id.values():
            if wanted in image.references or reference in (image.id, image.id.removeprefix("sha256:")):
                return image
        raise ImageNotFound(reference)

    def lower_dirs(self, image: Image) -> tuple[str, ...]:
        """Folders for an overlay mount, the topmost layer first."""
        return tuple(str(self._folder(digest)) for digest in reversed(image.layers))

    def _folder(self, digest: str) -> Path:
        # A short name: all layers of an image share one page of mount options.
        return self._layers / digest.removeprefix("sha256:")[:24]

    async def load(self, archive: Path, reference: str) -> list[Image]:
        """Take in every image of an archive file. Raises BadImage; then nothing of it is kept."""
        async with self._lock:
            return await asyncio.to_thread(self._load, archive, reference)

    def _load(self, path: Path, reference: str) -> list[Image]:
        archive = Archive(path)
        try:
            found = archive.images(reference)
            for image in found:
                for layer in image.layers:
                    self._unpack(layer)
            return [self._keep(image) for image in found]
        finally:
            archive.close()

    def _unpack(self, layer: Layer) -> None:
        if not layer.diff_id.startswith("sha256:") or not layer.diff_id[7:].isalnum():
            raise BadImage(f"{layer.diff_id[:80]!r} is not a sha256 digest")
        target = self._folder(layer.diff_id)
        if target.exists():
            return
        scratch = tempfile.mkdtemp(dir=self.incoming)
        os.chmod(scratch, 0o755)
        try:
            with layer.open() as stream:
                hashed = _Hashed(stream)
                unpack(hashed, scratch, f"layer {layer.diff_id[:19]}")  # type: ignore[arg-type]
                if hashed.finish() != layer.diff_id:
                    raise BadImage(f"layer {layer.diff_id} does not match its digest")
            os.rename(scratch, target)
        except (OSError, EOFError) as error:
            raise BadImage(f"layer {layer.diff_id[:19]}: {error}") from None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _keep(self, image: ImageArchive) -> Image:
        names = {normalise(reference) for reference in image.references}
        for other in list(self._by_id.values()):
            # A name belongs to one image: the newer takes it.
            if other.id != image.id and names & set(other.references):
                self._write(_renamed(other, tuple(n for n in other.references if n not in names)))
        known = self._by_id.get(image.id)
        references = tuple(sorted(names | set(known.references if known else ())))
        layers = tuple(layer.diff_id for layer in image.layers)
        size = sum(_size(self._folder(digest)) for digest in layers)
        kept = Image(image.id, references, image.config, layers, size)
        self._write(kept)
        return kept

    def _write(self, image: Image) -> None:
        path = self._images / f"{image.id.removeprefix('sha256:')}.json"
        pki.write_private(path, json.dumps(asdict(image)).encode())
        self._by_id[image.id] = image

    def read_file(self, image: Image, path: str, limit: int = 1 << 20) -> bytes:
        """A small file of the image, as its topmost layer that has it says. Empty when there is none."""
        for folder in self.lower_dirs(image):
            root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                with os.fdopen(syscalls.openat2(root, path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                    return file.read(limit)
            except OSError:
                continue
            finally:
                os.close(root)
        return b""


class _Hashed:
    """A stream that hashes what is read through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._digest.update(data)
        return data

    def finish(self) -> str:
        while self.read(1 << 20):
            pass
        return "sha256:" + self._digest.hexdigest()


def _read(path: Path) -> Image:
    record = json.loads(path.read_text())
    return Image(record["id"], tuple(record["references"]), record["config"], tuple(record["layers"]), record["size"])


def _renamed(image: Image, references: tuple[str, ...]) -> Image:
    return Image(image.id, references, image.config, image.layers, image.size)


def _size(folder: Path) -> int:
    total = 0
    for base, _, files in os.walk(folder):
        for name in files:
            total += os.lstat(os.path.join(base, name)).st_size
    return total
