"""The formats that an image comes in: OCI layout, docker archive, or a bare root filesystem, each as a tar.

Reads only; `store` decides what to keep. Digests are checked against content wherever the format states one.
Source: the OCI image-spec (image-layout, manifest, config) and the `docker save` format.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import platform
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from nodeagent.images.unpack import BadImage

MAX_JSON = 4 << 20
MAX_LAYERS = 120
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Layer:
    """`diff_id` is the digest of the uncompressed tar; `open` yields that tar, uncompressed."""

    diff_id: str
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True, slots=True)
class ImageArchive:
    """`id` is the digest of the config; `config` its `config` member (Env, Cmd, ...). Layers from the bottom up."""

    id: str
    references: tuple[str, ...]
    config: dict[str, Any]
    layers: tuple[Layer, ...] = field(default_factory=tuple)


class Archive:
    """An archive file opened for reading. Raises BadImage from every method."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._tar = tarfile.open(path, "r:*")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise BadImage(f"not an image archive: {error}") from None
        try:
            self._members = {_clean(member.name): member for member in self._tar if member.isfile()}
        except (tarfile.TarError, EOFError, OSError) as error:
            self._tar.close()
            raise BadImage(f"not an image archive: {error}") from None

    def close(self) -> None:
        self._tar.close()

    def images(self, reference: str) -> list[ImageArchive]:
        """All images in it; `reference` names one that has no name of its own."""
        if "index.json" in self._members and "oci-layout" in self._members:
            return self._oci(reference)
        if "manifest.json" in self._members:
            return self._docker(reference)
        return [self._rootfs(reference)]

    def _json(self, name: str) -> Any:
        member = self._members.get(name)
        if member is None:
            raise BadImage(f"{name} is missing in the archive")
        if member.size > MAX_JSON:
            raise BadImage(f"{name} is larger than {MAX_JSON >> 20} MiB")
        file = self._tar.extractfile(member)
        assert file is not None
        try:
            return json.loads(file.read())
        except (ValueError, RecursionError):
            raise BadImage(f"{name} is not JSON") from None

    def _blob(self, digest: Any) -> str:
        """The member that holds a digest, verified."""
        algorithm, _, value = str(digest).partition(":")
        name = f"blobs/sha256/{value}"
        if algorithm != "sha256" or name not in self._members:
            raise BadImage(f"blob {str(digest)[:80]} is missing in the archive")
        file = self._tar.extractfile(self._members[name])
        assert file is not None
        if hashlib.file_digest(file, "sha256").hexdigest() != value:  # type: ignore[arg-type]
            raise BadImage(f"blob {digest} does not match its digest")
        return name

    def _oci(self, reference: str) -> list[ImageArchive]:
        found = []
        for entry in self._json("index.json").get("manifests", []):
            manifest = self._json(self._blob(entry.get("digest")))
            annotations = entry.get("annotations") or {}
            name = annotations.get("io.containerd.image.name") or annotations.get("org.opencontainers.image.ref.name") or ""
            if "manifests" in manifest:
                manifest = self._json(self._blob(_for_this_platform(manifest["manifests"])))
            layers = [self._blob(layer.get("digest")) for layer in manifest.get("layers", [])]
            config_name = self._blob(manifest.get("config", {}).get("digest"))
            found.append(self._image(config_name, layers, tuple(filter(None, (reference or name,)))))
        if not found:
            raise BadImage("index.json lists no manifest")
        return found

    def _docker(self, reference: str) -> list[ImageArchive]:
        found = []
        for entry in self._json("manifest.json"):
            tags = (reference,) if reference else tuple(entry.get("RepoTags") or ())
            found.append(self._image(_clean(str(entry.get("Config"))), [_clean(n) for n in entry.get("Layers", [])], tags))
        return found

    def _image(self, config_name: str, layers: list[str], references: tuple[str, ...]) -> ImageArchive:
        document = self._json(config_name)
        diff_ids = document.get("rootfs", {}).get("diff_ids", [])
        if len(diff_ids) != len(layers) or not layers:
            raise BadImage(f"{config_name} names {len(diff_ids)} layers, the manifest {len(layers)}")
        if len(layers) > MAX_LAYERS:
            raise BadImage(f"{len(layers)} layers; at most {MAX_LAYERS} are supported")
        if not references:
            raise BadImage("the archive does not name its image: give a name")
        file = self._tar.extractfile(self._members[config_name])
        assert file is not None
        id_ = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        opened = tuple(Layer(str(d), self._opener(name)) for d, name in zip(diff_ids, layers, strict=True))
        return ImageArchive(id_, references, document.get("config") or {}, opened)

    def _opener(self, name: str) -> Callable[[], IO[bytes]]:
        def open_layer() -> IO[bytes]:
            member = self._members.get(name)
            if member is None:
                raise BadImage(f"layer {name} is missing in the archive")
            file = self._tar.extractfile(member)
            assert file is not None
            magic = file.read(4)
            file.seek(0)
            if magic == _ZSTD:
                raise BadImage(f"layer {name} is compressed with zstd, which is not supported yet")
            return gzip.GzipFile(fileobj=file) if magic[:2] == _GZIP else file  # type: ignore[return-value]

        return open_layer

    def _rootfs(self, reference: str) -> ImageArchive:
        if not reference:
            raise BadImage("a root filesystem has no name of its own: give one")

        def open_tar() -> IO[bytes]:
            file = open(self._path, "rb")
            magic = file.read(2)
            file.seek(0)
            return gzip.GzipFile(fileobj=file) if magic == _GZIP else file  # type: ignore[return-value]

        with open_tar() as file:
            digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        config = {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}
        return ImageArchive(digest, (reference,), config, (Layer(digest, open_tar),))


def _clean(name: str) -> str:
    return name.removeprefix("./")


def _for_this_platform(manifests: list[dict[str, Any]]) -> Any:
    wanted = ARCHITECTURES.get(platform.machine(), platform.machine())
    for entry in manifests:
        where = entry.get("platform") or {}
        if (where.get("os"), where.get("architecture")) == ("linux", wanted):
            return entry.get("digest")
    raise BadImage(f"the image has no manifest for linux/{wanted}")
