"""The formats that an image comes in on a disk: OCI layout, docker archive, or a bare root filesystem; tar or folder.

Reads only. Documents are checked against their digests here; a layer is checked by whoever unpacks it, against its
diff id. Source: the OCI image-spec (image-layout) and the `docker save` format.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pinnace.oci import BadImage, manifest
from pinnace.oci.compression import compressed, decompressed
from pinnace.oci.manifest import ImageConfig, digest_of
from pinnace.oci.members import Folder, Members, Tar

MAX_ARCHIVE = 32 << 30
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Layer:
    """`diff_id` is the digest of the uncompressed tar; `open` yields that tar, which may be compressed, in `size` bytes."""

    diff_id: str
    size: int
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True, slots=True)
class ImageArchive:
    """`document` is the config in its own bytes. Layers from the bottom up."""

    references: tuple[str, ...]
    document: bytes
    config: ImageConfig
    layers: tuple[Layer, ...]


class Archive:
    """An archive opened for reading. Raises BadImage from every method."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open = ExitStack()
        try:
            self._members: Members = Folder(path) if path.is_dir() else Tar(self._plain())
        except (tarfile.TarError, EOFError, OSError) as error:
            self._open.close()
            raise BadImage(f"not an image archive: {error}") from None
        except BaseException:
            self._open.close()
            raise

    def _plain(self) -> IO[bytes]:
        """The file, or what it decompresses to: members are read in any order, which a compressed file is slow at."""
        file = self._open.enter_context(open(self._path, "rb"))
        start = file.read(4)
        file.seek(0)
        if not compressed(start):
            return file
        plain = self._open.enter_context(tempfile.TemporaryFile())
        _copy(decompressed(file), plain)
        return plain

    def close(self) -> None:
        self._open.close()

    def images(self, reference: str) -> list[ImageArchive]:
        """All images in it; `reference` names one that has no name of its own."""
        if "index.json" in self._members and "oci-layout" in self._members:
            return self._oci(reference)
        if "manifest.json" in self._members:
            return self._docker(reference)
        return [self._rootfs(reference)]

    def _bytes(self, name: str) -> bytes:
        if name not in self._members:
            raise BadImage(f"{name} is missing in the archive")
        if self._members.size(name) > manifest.MAX_JSON:
            raise BadImage(f"{name} is larger than {manifest.MAX_JSON >> 20} MiB")
        with self._members.open(name) as file:
            return file.read()

    def _blob(self, digest: str) -> str:
        name = f"blobs/sha256/{digest.removeprefix('sha256:')}"
        if name not in self._members:
            raise BadImage(f"blob {digest} is missing in the archive")
        return name

    def _document(self, digest: str) -> dict[str, Any]:
        """What a blob holds, verified."""
        data = self._bytes(self._blob(digest))
        if digest_of(data) != digest:
            raise BadImage(f"blob {digest} does not match its digest")
        return manifest.document(data, f"blob {digest[:19]}")

    def _oci(self, reference: str) -> list[ImageArchive]:
        found = []
        index = manifest.document(self._bytes("index.json"), "index.json")
        for entry in manifest.entries(index, "manifests", "index.json"):
            top = manifest.descriptor(entry, "index.json: manifests")
            annotations = entry.get("annotations")
            annotations = annotations if isinstance(annotations, dict) else {}
            name = annotations.get("io.containerd.image.name") or annotations.get("org.opencontainers.image.ref.name") or ""
            value = self._document(top.digest)
            if manifest.is_index(value):
                value = self._document(manifest.choose(value, "the index").digest)
            known = manifest.manifest(value, "the manifest")
            layers = [self._blob(layer.digest) for layer in known.layers]
            found.append(self._image(self._blob(known.config.digest), layers, (reference or str(name),), known.config.digest))
        if not found:
            raise BadImage("index.json lists no manifest")
        return found

    def _docker(self, reference: str) -> list[ImageArchive]:
        found = []
        # The only document here that is a list.
        listed = manifest.document(b'{"images":' + self._bytes("manifest.json") + b"}", "manifest.json")
        for entry in manifest.entries(listed, "images", "manifest.json"):
            if not isinstance(entry, dict):
                raise BadImage("manifest.json lists something that is no image")
            named = tuple(map(str, manifest.entries(entry, "RepoTags", "manifest.json")))
            tags = (reference,) if reference else named
            layers = [str(name).removeprefix("./") for name in manifest.entries(entry, "Layers", "manifest.json")]
            found.append(self._image(str(entry.get("Config")).removeprefix("./"), layers, tags))
        if not found:
            raise BadImage("manifest.json lists no image")
        return found

    def _image(self, config_name: str, layers: list[str], references: tuple[str, ...], digest: str = "") -> ImageArchive:
        data = self._bytes(config_name)
        if digest and digest_of(data) != digest:
            raise BadImage(f"blob {digest} does not match its digest")
        known = manifest.config(data, len(layers), config_name)
        if not any(references):
            raise BadImage("the archive does not name its image: give a name (--name NAME)")
        opened = tuple(self._layer(diff_id, name) for diff_id, name in zip(known.diff_ids, layers, strict=True))
        return ImageArchive(references, data, known, opened)

    def _layer(self, diff_id: str, name: str) -> Layer:
        if name not in self._members:
            raise BadImage(f"layer {name[:200]} is missing in the archive")
        return Layer(diff_id, self._members.size(name), lambda: self._members.open(name))

    def _rootfs(self, reference: str) -> ImageArchive:
        if not reference:
            raise BadImage("a root filesystem has no name of its own: give one (--name NAME)")
        tar = self._rootfs_tar()
        with tar() as file:
            digest = _digest_of(decompressed(file))
            size = file.seek(0, 2)
        return from_rootfs(reference, Layer(digest, size, tar))

    def _rootfs_tar(self) -> Callable[[], IO[bytes]]:
        if not self._path.is_dir():
            return lambda: open(self._path, "rb")
        file = self._open.enter_context(tempfile.NamedTemporaryFile())
        with tarfile.open(fileobj=file, mode="w") as tar:
            # Sorted by name, so that the same folder is the same layer.
            tar.add(self._path, arcname=".")
        file.flush()
        return lambda: open(file.name, "rb")


def from_rootfs(reference: str, layer: Layer) -> ImageArchive:
    """An image of one layer with the config that a bare root filesystem gets."""
    run = {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}
    data = json.dumps({"config": run, "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]}}).encode()
    return ImageArchive((reference,), data, manifest.config(data, 1, "the config"), (layer,))


def _digest_of(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return "sha256:" + digest.hexdigest()


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    total = 0
    while chunk := source.read(_CHUNK):
        total += len(chunk)
        if total > MAX_ARCHIVE:
            raise BadImage(f"the archive is larger than {MAX_ARCHIVE >> 30} GiB")
        target.write(chunk)
    target.seek(0)
