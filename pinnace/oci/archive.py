"""The formats that an image comes in on a disk: OCI layout, docker archive, or a bare root filesystem; tar or folder.

Reads only. Documents are checked against their digests here; a layer is checked when it is unpacked, against its
diff id. Source: the OCI image-spec (image-layout) and the `docker save` format.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, TypeVar

from pinnace.oci import BadImage, manifest, selection
from pinnace.oci.compression import compressed, decompressed
from pinnace.oci.manifest import ImageConfig, digest_of
from pinnace.oci.members import Folder, Members, Tar
from pinnace.oci.selection import Wanted

MAX_ARCHIVE = 32 << 30
_CHUNK = 1 << 20
_NO_TAG = "<none>:<none>"
_T = TypeVar("_T")


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
        except (BadImage, OSError) as error:
            self._open.close()
            raise BadImage(f"not an image archive: {error}") from None
        except BaseException:
            self._open.close()
            raise

    def _plain(self) -> IO[bytes]:
        """The file, or what it decompresses to: members are read in any order, which a compressed file is slow at."""
        file = self._open.enter_context(open(self._path, "rb"))
        start = file.read(6)
        file.seek(0)
        if not compressed(start):
            return file
        plain = self._open.enter_context(tempfile.TemporaryFile())
        _copy(decompressed(file), plain)
        return plain

    def close(self) -> None:
        self._open.close()

    def images(self, reference: str) -> list[ImageArchive]:
        """All images in it; `reference` names the only one, in place of its own names."""
        if "oci-layout" in self._members and "index.json" in self._members:
            found = self._oci()
        elif "manifest.json" in self._members:
            found = self._docker()
        elif "repositories" in self._members:
            raise BadImage("an archive of Docker before 1.10, without manifest.json: save the image again with a newer tool")
        else:
            return [self._rootfs(reference)]
        return self._named(found, reference)

    def _named(self, found: list[ImageArchive], reference: str) -> list[ImageArchive]:
        """Each image once, with all its names."""
        images: dict[str, ImageArchive] = {}
        for item in found:
            known = images.get(item.config.id, replace(item, references=()))
            names = (*known.references, *item.references)
            images[item.config.id] = replace(known, references=tuple(dict.fromkeys(filter(None, names))))
        if reference and len(images) > 1:
            raise BadImage(f"the archive has {len(images)} images, and a name that is given (--name) is for one")
        for item in images.values():
            if not item.references and not reference:
                raise BadImage("the archive does not name its image: give a name (--name NAME)")
        return [replace(item, references=(reference,)) if reference else item for item in images.values()]

    def _bytes(self, name: str) -> bytes:
        if name not in self._members:
            raise BadImage(f"{name[:200]} is missing in the archive")
        if self._members.size(name) > manifest.MAX_JSON:
            raise BadImage(f"{name[:200]} is larger than {manifest.MAX_JSON >> 20} MiB")
        with self._members.open(name) as file:
            return file.read()

    def _blob(self, digest: str) -> str:
        name = _blob_name(digest)
        if name not in self._members:
            raise BadImage(f"blob {digest} is missing in the archive")
        return name

    def _document(self, digest: str) -> bytes:
        """What a blob holds, verified."""
        data = self._bytes(self._blob(digest))
        if digest_of(data) != digest:
            raise BadImage(f"blob {digest} does not match its digest")
        return data

    def _run(self, selecting: Generator[Wanted, bytes | None, _T]) -> _T:
        """Read for a selection what it wants."""
        answer: bytes | None = None
        while True:
            try:
                wanted = selecting.send(answer)
            except StopIteration as ended:
                value: _T = ended.value
                return value
            digest = wanted.descriptor.digest
            there = wanted.required or _blob_name(digest) in self._members
            answer = self._document(digest) if there else None

    def _oci(self) -> list[ImageArchive]:
        layout = manifest.document(self._bytes("oci-layout"), "oci-layout")
        if layout.get("imageLayoutVersion") != "1.0.0":
            raise BadImage(f"oci-layout is of version {str(layout.get('imageLayoutVersion'))[:40]!r}, not 1.0.0")
        index = manifest.document(self._bytes("index.json"), "index.json")
        # Several entries of one name are one image for several platforms, or the same again.
        listed: dict[str, list[Any]] = {}
        for entry in manifest.entries(index, "manifests", "index.json"):
            manifest.descriptor(entry, "index.json: manifests")
            if not selection.is_no_image(entry):
                listed.setdefault(_name_of(entry), []).append(entry)
        if not listed:
            raise BadImage("index.json lists no manifest")
        return [self._oci_image(name, entries) for name, entries in listed.items()]

    def _oci_image(self, name: str, entries: list[Any]) -> ImageArchive:
        found = self._run(selection.select_all(entries, name or "the archive"))
        if len(found) > 1 and not name:
            raise BadImage(f"index.json has {len(found)} images without a name, and nothing says which is meant")
        image = found[0]
        layers = [self._blob(layer.digest) for layer in image.manifest.layers]
        return self._image(image.config, layers, (name,))

    def _docker(self) -> list[ImageArchive]:
        found = []
        # The only document here that is a list.
        listed = manifest.document(b'{"images":' + self._bytes("manifest.json") + b"}", "manifest.json")
        for entry in manifest.entries(listed, "images", "manifest.json"):
            if not isinstance(entry, dict):
                raise BadImage("manifest.json lists something that is no image")
            tags = [str(name) for name in manifest.entries(entry, "RepoTags", "manifest.json") if name != _NO_TAG]
            layers = [str(name) for name in manifest.entries(entry, "Layers", "manifest.json")]
            name = str(entry.get("Config"))
            config = manifest.config(self._bytes(name), len(layers), name[:200])
            found.append(self._image(config, layers, tuple(tags)))
        if not found:
            raise BadImage("manifest.json lists no image")
        return found

    def _image(self, config: ImageConfig, layers: list[str], references: tuple[str, ...]) -> ImageArchive:
        opened = tuple(self._layer(diff_id, name) for diff_id, name in zip(config.diff_ids, layers, strict=True))
        return ImageArchive(references, config.document, config, opened)

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
        # Here: agents, which import this module, get images in other forms.
        import tarfile

        file = self._open.enter_context(tempfile.NamedTemporaryFile())
        with tarfile.open(fileobj=file, mode="w") as tar:
            # Sorted by name, so that the same folder is the same layer.
            tar.add(self._path, arcname=".")
        file.flush()
        return lambda: open(file.name, "rb")


def _blob_name(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _name_of(entry: dict[str, Any]) -> str:
    """What an entry of index.json calls its image; empty for nothing."""
    annotations = entry.get("annotations")
    annotations = annotations if isinstance(annotations, dict) else {}
    return str(annotations.get("io.containerd.image.name") or annotations.get("org.opencontainers.image.ref.name") or "")


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
